"""What a person sets of the models: `LOOM_` variables, which the platform's settings check and name too.

Read when the stages are put together, because a stage's version names its model; nothing else here looks at a file.
"""

import os
from dataclasses import dataclass
from pathlib import Path

ACTIVITY_MODEL = "LOOM_ACTIVITY_MODEL"
ACTIVITY_MODEL_SHA256 = "LOOM_ACTIVITY_MODEL_SHA256"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model of the person's own: where it is, and the SHA-256 (hexadecimal) that it must have."""

    path: Path
    sha256: str

    @property
    def revision(self) -> str:
        """Its part of a stage's version."""
        return f"onnx-{self.sha256[:12]}"


def activity_model() -> ModelFile | None:
    """The model that takes the place of the rules in `activity-classifier`; None where no one set one."""
    path = os.environ.get(ACTIVITY_MODEL)
    if not path:
        return None
    return ModelFile(Path(path), os.environ.get(ACTIVITY_MODEL_SHA256, "").strip().lower())
