"""A person's own classifier of activities, an ONNX file on onnxruntime, in the place of the rules.

It takes one input, float32 (n, 11): `FEATURES` of n windows, NaN for what is not known. Its first output, float (n, 5),
is the share of each of `loom_models.activity.ACTIVITIES` in that order. Smoothing over time stays as it is.
"""

import hashlib
import threading
from typing import Final

import numpy as np
import onnxruntime as ort
import polars as pl

from loom_models.activity import ACTIVITIES, Floats, normalized
from loom_models.errors import ModelUnavailableError
from loom_models.settings import ACTIVITY_MODEL, ACTIVITY_MODEL_SHA256, ModelFile

FEATURES: Final = (
    "rate_hz",
    "magnitude_mean_mps2",
    "magnitude_std_mps2",
    "magnitude_min_mps2",
    "magnitude_max_mps2",
    "dynamic_rms_mps2",
    "jerk_rms_mps3",
    "crossing_rate_hz",
    "rhythm_hz",
    "rhythm_share",
    "speed_mps",
)
"""Columns of a window (see `device.sensor.accelerometer.windowed`), and the speed over ground by GPS."""

_LEAST_SHARE: Final = 1e-6

_lock = threading.Lock()
_loaded: "dict[ModelFile, ActivityModel]" = {}


class ActivityModel:
    """The model. It keeps nothing between calls."""

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(_checked(file), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def scores_of(self, windows: pl.DataFrame) -> Floats:
        """Logarithms of each activity's share in each of `windows` (FEATURES), shape (n, 5).

        Raises ModelUnavailableError when the model's output is of another shape, or no shares.
        """
        given = windows.select(pl.col(FEATURES).cast(pl.Float32).fill_null(float("nan"))).to_numpy()
        shares = np.asarray(self._session.run(None, {self._input: np.ascontiguousarray(given)})[0], dtype=np.float64)
        if shares.shape != (windows.height, len(ACTIVITIES)) or not (np.isfinite(shares).all() and (shares >= 0).all()):
            wanted = (windows.height, len(ACTIVITIES))
            raise ModelUnavailableError(
                self._file.revision,
                f"{self._file.path} gave numbers of shape {shares.shape}, or some below nought, not shares of shape "
                f"{wanted}; give {ACTIVITY_MODEL} a model that does, or unset it",
            )
        return normalized(np.log(np.maximum(shares, _LEAST_SHARE)))


def load(file: ModelFile) -> ActivityModel:
    """The model, loaded once in this process. Raises ModelUnavailableError when the file is not there as expected."""
    with _lock:
        if file not in _loaded:
            try:
                _loaded[file] = ActivityModel(file)
            except ModelUnavailableError:
                raise
            except Exception as error:
                raise ModelUnavailableError(file.revision, f"{file.path} is no ONNX model: {error}") from error
        return _loaded[file]


def _checked(file: ModelFile) -> bytes:
    try:
        body = file.path.read_bytes()
    except OSError as error:
        raise ModelUnavailableError(file.revision, f"{error}; correct {ACTIVITY_MODEL}") from error
    digest = hashlib.sha256(body).hexdigest()
    if digest != file.sha256:
        raise ModelUnavailableError(
            file.revision,
            f"{file.path} has SHA-256 {digest}, not {file.sha256 or 'any that was set'}; set {ACTIVITY_MODEL_SHA256}",
        )
    return body
