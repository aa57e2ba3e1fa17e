"""The documentation is held against what is there: links, commands, settings, sizes, and names of registries."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic_core import PydanticUndefined

from loom_ingest.settings import Settings as IngestSettings
from loom_platform.cli.main import app
from loom_platform.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
REFERENCE = ROOT / "docs/how-to/settings.md"

LONGEST_MODULE = 400
# In pieces, so that this file passes its own test.
REGISTRY_HOSTS = [".".join(parts) for parts in (
    ("pypi", "org"), ("pythonhosted", "org"), ("repo", "maven", "apache", "org"), ("repo1", "maven", "org"),
    ("registry", "npmjs", "org"), ("static", "crates", "io"), ("registry", "yarnpkg", "com"),
)]  # fmt: skip
# Set by Loom for its own processes, and not settings of a person.
INTERNAL = {"LOOM_INSTANCE", "LOOM_CODE"}


def tracked() -> list[Path]:
    """Files of the checkout that git knows or would add, so that build outputs do not count."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: nothing says which files are the project's")
    return [path for path in (ROOT / n for n in names if n) if path.is_file()]


# Links


def links(page: Path) -> Iterator[str]:
    """Targets of the links and images of a page, code left out."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r"<img[^>]* src=\"([^\"]+)\"", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@EACH_PAGE
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


# Commands


def code(page: Path) -> Iterator[str]:
    """Inline code, and the lines of shell blocks (of `console` blocks those that begin with `$`)."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        if language in ("bash", "sh"):
            yield from lines
        elif language == "console":
            yield from (line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The arguments of each call of `program` on a page."""
    pattern = rf"(?:[A-Z_]+=\S+ )*(?:\S*/)?{program}(?: |$)"
    for line in code(page):
        if (found := re.match(pattern, line.strip())) is not None:
            rest = re.split(r"[|;&>#]", line.strip()[found.end() :])[0]
            yield shlex.split(rest)


def complaint(words: list[str]) -> str | None:
    """What is wrong with the arguments of `loom`, or None; CAPITALS and dots stand for values."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if word.startswith("-"):
            options = {name for parameter in command.params for name in parameter.opts}
            if word.partition("=")[0] not in {*options, "--help", "--version"}:
                return f"no option {word}"
        elif hasattr(command, "commands"):
            if word not in command.commands and hasattr(command, "default_command"):
                command = command.commands[command.default_command]
                continue
            if word not in command.commands:
                return f"no command {word}"
            command = command.commands[word]
    return None


@EACH_PAGE
def test_commands_exist(page: Path) -> None:
    wrong = {" ".join(words): why for words in commands(page, "loom") if (why := complaint(words))}
    assert wrong == {}


@EACH_PAGE
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {words[0] for words in commands(page, "make") if words} - targets == set()


def test_every_command_is_documented() -> None:
    command: Any = typer.main.get_command(app)
    text = " ".join(p.read_text(encoding="utf-8") for p in PAGES)
    assert [name for name in command.commands if f"loom {name}" not in text] == []


# Code


def test_the_stage_of_the_how_to_works() -> None:
    """The page's Python, from its first line to its last, is one module whose own test passes."""
    text = (ROOT / "docs/how-to/add-a-stage.md").read_text(encoding="utf-8")
    module: dict[str, Any] = {"__name__": "how_to"}
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    exec(compile(blocks, "add-a-stage.md", "exec"), module)  # noqa: S102
    module["test_zones"]()
    zoned = module["HEARTRATE_ZONED"]
    zoned.payload.model_validate(zoned.example)
    assert zoned.table.scope == ("timestamp", "source_message_id")


# Settings


def settings() -> dict[str, set[str]]:
    """Every setting by the name of its variable, with its defaults as the reference writes them."""
    found: dict[str, set[str]] = {}
    for model in (Settings, IngestSettings):
        for name, field in model.model_fields.items():
            default = field.default
            if field.default_factory is not None or default is PydanticUndefined or default is None:
                text = ""
            elif isinstance(default, bool):
                text = str(default).lower()
            elif isinstance(default, float):
                text = f"{default:g}"
            else:
                text = str(default)
            found.setdefault(f"LOOM_{name.upper()}", set()).add(text)
    return found | {variable: {""} for variable in variables(typer.main.get_command(app))}


def variables(command: Any) -> Iterator[str]:
    """Variables that stand for an option of a command."""
    for parameter in command.params:
        named = parameter.envvar or ()
        yield from (named,) if isinstance(named, str) else named
    for inner in getattr(command, "commands", {}).values():
        yield from variables(inner)


def reference() -> dict[str, str]:
    """The rows of the settings reference: variable to default; a default in words (no code) is the empty text."""
    rows = re.findall(r"^\| `(LOOM_\w+)` \| (.*?) \|", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: found[1] if (found := re.fullmatch(r"`(.*)`", default)) else "" for name, default in rows}


@EACH_PAGE
def test_settings_exist(page: Path) -> None:
    named = set(re.findall(r"\bLOOM_[A-Z0-9_]*[A-Z0-9]\b(?!\*)", page.read_text(encoding="utf-8")))
    assert named - settings().keys() - INTERNAL == set()


def test_every_setting_is_in_the_reference() -> None:
    assert settings().keys() - reference().keys() == set()


def test_defaults_of_the_reference_are_true() -> None:
    known = settings()
    wrong = {n: (text, known[n]) for n, text in reference().items() if n in known and text not in known[n]}
    assert wrong == {}


# The tree


def test_no_registry_is_named() -> None:
    """Each machine uses its own index, so an address in the tree would be wrong on most (docs/adr/0005)."""
    pattern = re.compile("|".join(map(re.escape, REGISTRY_HOSTS)).encode())
    assert [str(p.relative_to(ROOT)) for p in tracked() if pattern.search(p.read_bytes())] == []


def test_modules_are_short() -> None:
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in tracked() if p.suffix == ".py"}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > LONGEST_MODULE} == {}
