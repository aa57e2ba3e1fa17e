"""DAGSTER_HOME of the running platform: the repository's dagster.yaml, and a workspace of the code server."""

import shutil
from pathlib import Path

from loom_platform.errors import ServiceError
from loom_platform.supervise.services import CODE_LOCATION, REPOSITORY

_WORKSPACE = """\
# written by `loom up`; changes are lost
load_from:
  - grpc_server:
      host: 127.0.0.1
      port: {port}
      location_name: {name}
"""


def write_dagster_home(home: Path, code_server_port: int, repository: Path = REPOSITORY) -> None:
    """Write both files below `home`; raises ServiceError when the repository has no dagster.yaml."""
    home.mkdir(mode=0o700, exist_ok=True)
    source = repository / "dagster.yaml"
    if not source.exists():
        raise ServiceError(f"{source} is not there; is the checkout complete? `git status` tells")
    shutil.copyfile(source, home / "dagster.yaml")
    (home / "workspace.yaml").write_text(_WORKSPACE.format(port=code_server_port, name=CODE_LOCATION))
