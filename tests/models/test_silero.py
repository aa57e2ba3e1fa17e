import subprocess
import sys
from pathlib import Path

import pytest

from loom_models.errors import ModelUnavailableError
from loom_models.models import silero


def test_it_loads_once() -> None:
    assert silero.load() is silero.load()


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "_loaded", [])
    monkeypatch.setattr(silero, "SHA256", "0" * 64)
    with pytest.raises(ModelUnavailableError, match=r"waiting for model silero-vad-6\.2\.3: .* has SHA-256"):
        silero.load()


def test_a_missing_wheel_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "_loaded", [])
    monkeypatch.setattr(silero, "NAME", "no-such-distribution")
    with pytest.raises(ModelUnavailableError, match="make up"):
        silero.load()


def test_neither_torch_nor_the_model_is_loaded_on_import() -> None:
    script = (
        "import sys, loom_models.flows, loom_models.models.silero as silero; assert not silero._loaded; "
        "silero.load(); print('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"
