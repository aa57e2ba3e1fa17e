"""A whole platform of this test's own, as `loom up` makes it, on a small file system where one may be mounted."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg

from loom_platform.embedded.process import free_port
from loom_platform.settings import Settings, load_settings
from loom_platform.supervise import instance
from loom_platform.supervise.endpoints import PORTS
from loom_platform.supervise.stopping import supervisor_of

SMALL = 3 * 1024**3
"""Size of the file system: enough for the load, little enough to be filled in a second."""


@dataclass(frozen=True)
class Installation:
    """The `loom` command on `data_dir`; `small` says that its file system is one of its own and can be filled."""

    data_dir: Path
    small: bool
    environment: dict[str, str]

    @classmethod
    def beneath(cls, root: Path, **settings: object) -> "Installation":
        """One with its data below `root`, on free ports, with nothing started yet."""
        data_dir = root / "data"
        data_dir.mkdir(parents=True)
        small = _mount(data_dir)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOOM_", "DAGSTER_"))}
        environment |= {f"LOOM_{name.upper()}": str(free_port()) for name in PORTS}
        environment |= {f"LOOM_{name.upper()}": str(value) for name, value in settings.items()}
        if cache := os.environ.get("LOOM_CACHE_DIR"):
            environment["LOOM_CACHE_DIR"] = cache
        return cls(data_dir, small, environment | {"LOOM_DATA_DIR": str(data_dir), "NO_COLOR": "1"})

    def loom(self, *words: str, check: bool = True, seconds: float = 240) -> "subprocess.CompletedProcess[str]":
        """`loom WORDS`; with `check` it must succeed."""
        command = [sys.executable, "-m", "loom_platform.cli.main", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, timeout=seconds, check=False
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def up(self, seconds: float = 300) -> None:
        """`loom up`, until it succeeds: what is broken on purpose may need a moment."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.loom("up", check=False, seconds=seconds)
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, done.stdout + done.stderr
            time.sleep(2)

    @cached_property
    def status(self) -> dict[str, Any]:
        """What `loom status` says of the endpoints."""
        told: dict[str, Any] = json.loads(self.loom("status", "--json", check=False).stdout)
        return told

    @cached_property
    def settings(self) -> Settings:
        """Its settings, as this process would load them there."""
        return load_settings(data_dir=self.data_dir)

    def pid(self, service: str) -> int | None:
        """The process of one service, if it runs."""
        info = supervisor_of(self.settings).processes().get(service)
        return info.pid if info else None

    def runs(self) -> list[psutil.Process]:
        """Its Dagster runs."""
        return instance.find_runs(self.data_dir)

    def connect(self, **options: Any) -> "psycopg.Connection[Any]":
        """A connection to its database, in autocommit mode."""
        return psycopg.connect(self.status["database_url"], autocommit=True, connect_timeout=5, **options)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def end(self) -> None:
        """Stop everything and give the file system back."""
        self.loom("down", check=False)
        instance.end(instance.find(self.data_dir))
        if self.small:
            subprocess.run(["umount", "--lazy", str(self.data_dir)], check=False)


def _mount(directory: Path) -> bool:
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=0711", "tmpfs", str(directory)]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def eventually(what: str, condition: Callable[[], object], seconds: float) -> None:
    """Wait until `condition`; what it raises meanwhile counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        why: object = "not yet"
        try:
            if condition():
                return
        except (psycopg.Error, OSError, AssertionError, ValueError) as error:
            why = error
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what} ({why})"
        time.sleep(0.5)
