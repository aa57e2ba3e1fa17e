"""Java, jars and who may reach what, without starting anything."""

import os
from pathlib import Path

import pytest

from loom_platform.embedded import java
from loom_platform.embedded.jars import ensure_jars, jars_directory
from loom_platform.embedded.postgres import Postgres, reachable, wheel_binaries
from loom_platform.errors import ServiceError
from loom_platform.supervise.control import Supervisor

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as someone else")


def fake_java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "release").write_text(f'JAVA_VERSION="{version}"\n')
    program = home / "bin/java"
    program.touch(mode=0o755)
    return program


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake_java(tmp_path, "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.find_java() == program
    assert java.java_home(program) == tmp_path


def test_an_old_java_is_told_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path, "11.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServiceError, match=r"java is 11.*apt-get install"):
        java.find_java()


def test_without_maven_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServiceError, match="LOOM_KAFKA_BOOTSTRAP_SERVERS"):
        ensure_jars(tmp_path)


def test_jars_that_are_there_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    jars_directory(tmp_path).mkdir()
    assert ensure_jars(tmp_path) == jars_directory(tmp_path)


@as_root
def test_a_data_directory_out_of_reach_says_what_to_do(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServiceError, match=r"LOOM_DATA_DIR=.*chmod o\+x"):
        Postgres(closed / "data" / "postgres", 1).prepare()


@as_root
def test_binaries_out_of_reach_are_copied(server_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom_platform.embedded.postgres.reachable", lambda *_: False)
    server = Postgres(server_dir / "copied", 1, durable=False)
    server.prepare()
    assert server.binaries != wheel_binaries()
    assert server.binaries.is_relative_to(server.root)
    assert (server.data / "PG_VERSION").exists()
    assert server.data.stat().st_uid != 0


@as_root
def test_reach_is_of_every_directory_above(server_dir: Path) -> None:
    open_, closed = server_dir / "open", server_dir / "closed"
    open_.mkdir(mode=0o755)
    closed.mkdir(mode=0o700)
    for directory in (open_, closed):
        (directory / "file").touch(mode=0o644)
    assert reachable(open_ / "file", "nobody")
    assert not reachable(closed / "file", "nobody")


def test_a_socket_path_that_is_too_long_is_moved(tmp_path: Path) -> None:
    short = Supervisor(Path("/a"), Path("/a/run"), Path("/a/logs"))
    assert short.socket == Path("/a/run/supervisord.sock")
    deep = tmp_path / ("d" * 100)
    assert len(str(Supervisor(deep, deep / "run", deep / "logs").socket)) < 104
