"""What a person says of applications: rules, the command line, and yesterday corrected by a recompute."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from loom_models.app_categories import built_in, category_of
from loom_platform.cli.main import app

Loom = Callable[..., str]


@pytest.mark.parametrize(
    ("identifier", "category"),
    [
        ("com.whatsapp", "communication"),
        ("COM.WhatsApp", "communication"),
        ("Firefox", "browser"),
        ("firefox.exe", "browser"),
        ("Code.exe", "development"),
        ("com.king.candycrushsaga", "game"),
        ("com.android.chrome", "browser"),
        ("com.android.unheard.of", "system"),
        ("org.nobody.knows", "unknown"),
    ],
)
def test_what_loom_knows(identifier: str, category: str) -> None:
    assert category_of(identifier, {}) == category


def test_the_persons_word_comes_first_and_the_longer_beginning() -> None:
    own = {"com.*": "things", "com.whats*": "friends", "firefox": "work"}
    told = [category_of(a, own) for a in ("com.whatsapp", "com.zzz", "FIREFOX.exe", "org.gnome.mines")]
    assert told == ["friends", "things", "work", "game"]


def test_the_list_is_in_the_form_that_is_looked_up() -> None:
    assert len(built_in()) > 1_000
    assert [p for p in built_in() if p != p.strip().lower() or "*" in p[:-1] or not p] == []


@pytest.fixture
def loom(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Loom:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)

    def call(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["apps", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


@pytest.mark.integration
def test_the_command_line(loom: Loom) -> None:
    assert "nothing is set" in loom("categories", "list")
    assert loom("categories", "set", "Org.Example.Notes", "Work") == "org.example.notes is work\n"
    loom("categories", "set", "org.example.*", "things")
    loom("categories", "set", "org.example.notes", "study")
    assert json.loads(loom("categories", "list", "--json")) == [
        {"application": "org.example.*", "category": "things"},
        {"application": "org.example.notes", "category": "study"},
    ]
    assert loom("categories", "unset", "org.example.notes") == "taken back; org.example.notes is things\n"
    assert "no category is set for 'org.example.notes'; set is: org.example.*" in loom(
        "categories", "unset", "org.example.notes", code=1
    )
    assert "must be a letter" in loom("categories", "set", "a", "9 lives", code=1)
    assert "with a * at the end" in loom("categories", "set", "a*b", "work", code=1)
    assert "no application was in front" in loom("list")
