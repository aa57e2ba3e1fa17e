"""Which package may import which, and that only the orchestration imports dagster."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "loom_contracts": set(),
    "loom_ingest": {"loom_contracts"},
    "loom_models": {"loom_contracts"},
    "loom_platform": {"loom_contracts", "loom_ingest", "loom_models"},
}
ORCHESTRATION = ROOT / "loom_platform" / "orchestration"
WITHOUT_DAGSTER = ("decisions", "groups", "health", "interrupts", "maintenance", "places_visited", "platform")
"""Modules of the orchestration that other parts of the platform use, so they do without it too."""


def modules(path: Path) -> Iterator[str]:
    """Every module that the file names in an import, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.module or ""


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_is_below_them(package: str) -> None:
    assert files(package)
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files(package)
        for module in modules(path)
        if (top := module.partition(".")[0]) in ALLOWED and top not in ALLOWED[package] | {package}
    ]
    assert wrong == []


def test_only_the_wiring_imports_dagster() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in files(package)
        if (ORCHESTRATION not in path.parents or path.stem in WITHOUT_DAGSTER)
        and any(m.partition(".")[0].startswith("dagster") for m in modules(path))
    ]
    assert wrong == []


def test_only_the_spans_module_imports_opentelemetry() -> None:
    """It is loaded where a collector is set, and nowhere else."""
    found = [
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in files(package)
        if any(module.partition(".")[0] == "opentelemetry" for module in modules(path))
    ]
    assert found == ["loom_ingest/telemetry.py"]
