"""Silero VAD on onnxruntime: the ONNX file of the silero-vad wheel, without torch. It takes 16 kHz mono."""

import hashlib
import threading
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from loom_models.errors import ModelUnavailableError

NAME: Final = "silero-vad"
WHEEL_VERSION: Final = "6.2.3"
SHA256: Final = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
"""Of `silero_vad.onnx` in that wheel: other weights would be another version of the stage."""
REVISION: Final = f"{NAME}-{WHEEL_VERSION}"
HOP: Final = 512
"""New samples of each frame: 32 ms."""
CONTEXT: Final = 64
"""Samples before them that the model also sees."""

Float32 = npt.NDArray[np.float32]

_lock = threading.Lock()
_loaded: "list[SileroVad]" = []


class SileroVad:
    """The model. It keeps nothing between frames: its state goes in and comes out."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._rate = np.array(16_000, np.int64)

    def speech_probability(self, frame: Float32, state: Float32) -> tuple[float, Float32]:
        """The probability of speech in `frame` (CONTEXT + HOP samples) and the next state (2, 1, 128)."""
        inputs = {"input": frame[None], "state": state, "sr": self._rate}
        probability, following = self._session.run(None, inputs)
        return float(probability[0, 0]), following


def fresh_state() -> Float32:
    """The state before the first frame."""
    return np.zeros((2, 1, 128), np.float32)


def load() -> SileroVad:
    """The model, loaded once in this process. Raises ModelUnavailableError when its file is not there as expected."""
    with _lock:
        if not _loaded:
            _loaded.append(SileroVad(_checked_path()))
        return _loaded[0]


def _checked_path() -> Path:
    remedy = f"install {NAME} {WHEEL_VERSION} again: make up"
    try:
        # importlib.resources would import the package, and that imports torch.
        path = Path(str(distribution(NAME).locate_file("silero_vad/data/silero_vad.onnx")))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (PackageNotFoundError, OSError) as error:
        raise ModelUnavailableError(REVISION, f"{error}; {remedy}") from error
    if digest != SHA256:
        raise ModelUnavailableError(REVISION, f"{path} has SHA-256 {digest}, not {SHA256}; {remedy}")
    return path
