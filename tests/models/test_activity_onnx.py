"""A person's own model in the place of the rules."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from loom_models import settings
from loom_models.activity import ACTIVITIES
from loom_models.errors import ModelUnavailableError
from loom_models.models.activity_onnx import FEATURES, load
from loom_models.settings import ModelFile, activity_model
from loom_models.stages.activity_classifier import FIXES, WINDOWS, activity_classifier, classified
from tests.models.motion import row_of, windows
from tests.models.onnx_file import softmax_of

NO_FIXES = pl.DataFrame(schema=FIXES.schema)


def model(folder: Path, weights: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> ModelFile:
    path = folder / "mine.onnx"
    path.write_bytes(softmax_of(weights))
    return ModelFile(path, hashlib.sha256(path.read_bytes()).hexdigest())


def by_deviation() -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Running where there is any deviation, else all alike."""
    weights = np.zeros((len(FEATURES), len(ACTIVITIES)), np.float32)
    weights[FEATURES.index("magnitude_std_mps2"), ACTIVITIES.index("running")] = 4.0
    return weights


def test_it_takes_the_place_of_the_rules(tmp_path: Path) -> None:
    file = model(tmp_path, by_deviation())
    rows = classified(windows(row_of(["walking"] * 3)).select(WINDOWS.schema.names()), NO_FIXES, "1", file)
    assert rows["activity"].to_list() == ["running"] * 3
    stage = activity_classifier(file)
    assert stage.version == f"1+onnx-{file.sha256[:12]}"
    assert activity_classifier(None).version == "1+rules-1"


def test_what_is_not_known_is_told_as_nan(tmp_path: Path) -> None:
    weights = np.ones((len(FEATURES), len(ACTIVITIES)), np.float32)
    rows = windows([{"at": 0.0, "rhythm_share": None}]).with_columns(speed_mps=pl.lit(None, dtype=pl.Float64))
    np.testing.assert_allclose(np.exp(load(model(tmp_path, weights)).scores_of(rows)), 0.2)


def test_another_file_than_was_meant_is_refused(tmp_path: Path) -> None:
    file = model(tmp_path, by_deviation())
    with pytest.raises(ModelUnavailableError, match="LOOM_ACTIVITY_MODEL_SHA256"):
        load(ModelFile(file.path, "0" * 64))
    with pytest.raises(ModelUnavailableError, match=r"No such file.*LOOM_ACTIVITY_MODEL"):
        load(ModelFile(tmp_path / "gone.onnx", file.sha256))


def test_a_file_that_is_no_model_and_one_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(ModelUnavailableError, match="is no ONNX model"):
        load(ModelFile(path, hashlib.sha256(path.read_bytes()).hexdigest()))
    narrow = load(model(tmp_path, by_deviation()[:, :3]))
    rows = windows(row_of(["still"])).with_columns(speed_mps=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(ModelUnavailableError, match=r"shape \(1, 3\).*unset it"):
        narrow.scores_of(rows)


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.ACTIVITY_MODEL, raising=False)
    assert activity_model() is None
    monkeypatch.setenv(settings.ACTIVITY_MODEL, "/models/mine.onnx")
    monkeypatch.setenv(settings.ACTIVITY_MODEL_SHA256, "AB" * 32)
    assert activity_model() == ModelFile(Path("/models/mine.onnx"), "ab" * 32)
