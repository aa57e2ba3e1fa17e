"""The broker's jars: resolved once by Maven from `deploy/kafka/pom.xml`, then kept in the cache directory."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from loom_platform.embedded.java import find_java, java_home
from loom_platform.errors import PlatformError, ServiceError

POM = Path(__file__).parents[2] / "deploy/kafka/pom.xml"


def jars_directory(cache: Path) -> Path:
    """Where the jars of the present pom are, or will be; the name changes with the pom."""
    return cache / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"


def ensure_jars(cache: Path) -> Path:
    """The directory of the jars, fetched by Maven when it is not there; raises ServiceError."""
    target = jars_directory(cache)
    if target.exists():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceError(
            "Maven fetches the Kafka broker and is not installed: Debian `apt-get install maven`, macOS "
            "`brew install maven`; or set LOOM_KAFKA_BOOTSTRAP_SERVERS to a broker of yours"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".jars-") as building:
        _run_maven(maven, Path(building) / "libs")
        # Two that fetch at once both succeed: the first rename wins.
        try:
            (Path(building) / "libs").rename(target)
        except OSError:
            if not target.exists():
                raise
    return target


def _run_maven(maven: str, target: Path) -> None:
    command = [
        *(maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
        *(f"-DoutputDirectory={target}", "-DincludeScope=runtime"),
    ]
    home = java_home(find_java())
    environment = {**os.environ, **({"JAVA_HOME": str(home)} if home else {})}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
    )
    if result.returncode or not any(target.glob("kafka_*.jar")):
        said = "\n".join((result.stdout + result.stderr).strip().splitlines()[:15])
        raise ServiceError(f"Maven could not fetch the Kafka broker; is the network there? It said:\n{said}")


if __name__ == "__main__":
    import sys

    from loom_platform.settings import load_settings

    try:
        print(ensure_jars(load_settings().cache_dir))  # noqa: T201
    except PlatformError as error:
        sys.exit(str(error))
