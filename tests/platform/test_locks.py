"""The locks hold everything that pyproject.toml asks for, with hashes, and name no index."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
LOCKS = REPOSITORY / "deploy/locks"


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def canonical(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def locked(name: str) -> set[str]:
    return {canonical(line) for line in (LOCKS / name).read_text().splitlines() if re.match(r"[a-z0-9]", line)}


def test_the_default_lock_is_complete(project: dict[str, Any]) -> None:
    wanted = {canonical(r) for r in project["project"]["dependencies"]}
    assert wanted <= locked("default.txt"), "run `make lock`"


def test_the_development_lock_holds_the_default_one(project: dict[str, Any]) -> None:
    wanted = {canonical(r) for r in project["dependency-groups"]["dev"]}
    assert wanted | locked("default.txt") <= locked("dev.txt"), "run `make lock`"


@pytest.mark.parametrize("lock", ["default.txt", "dev.txt", "java.txt"])
def test_a_lock_has_hashes_and_no_index(lock: str) -> None:
    text = (LOCKS / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert text.count("--hash=sha256:") >= len(locked(lock))


def test_the_default_environment_has_no_torch() -> None:
    assert not {"torch", "torchaudio", "tensorflow"} & locked("default.txt")


def test_nothing_replaces_a_locked_version_at_installation(project: dict[str, Any]) -> None:
    """uv applies an override of pyproject.toml to `uv pip install` too, whatever the lock says."""
    assert not {"override-dependencies", "constraint-dependencies"} & set(project["tool"]["uv"])
