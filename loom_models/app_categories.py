"""What an application is: a category, from the person's own table or else from a list of well-known applications."""

from functools import lru_cache
from importlib.resources import files
from typing import Final

import polars as pl

from loom_models.stage import ContextQuery

UNKNOWN: Final = "unknown"
"""The category of what neither the person nor the list knows."""
CATEGORIES: Final = ContextQuery(
    name="categories",
    sql="SELECT pattern, category FROM app_categories WHERE deleted_at IS NULL ORDER BY pattern",
    parameters=lambda batch, due: None if batch.is_empty() and due.is_empty() else {},
    schema=pl.Schema({"pattern": pl.String, "category": pl.String}),
)
REVISION: Final = "(SELECT coalesce(max(revision), 0)::text FROM app_categories)"
"""SQL of what changes whenever the person changes a category."""

_PROGRAM: Final = (".exe", ".app", ".desktop")
"""Endings that do not tell one application from another."""


def with_category(apps: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """`apps` with `app_category` of their `app_identifier`; `own` has the columns of CATEGORIES."""
    rules = dict(own.iter_rows())
    known = apps.select(pl.col("app_identifier").unique())
    found = known.with_columns(
        pl.Series("app_category", [category_of(app, rules) for app in known["app_identifier"]], dtype=pl.String)
    )
    return apps.join(found, on="app_identifier", how="left", maintain_order="left")


def category_of(app: str, own: dict[str, str]) -> str:
    """The category of an application's identifier, in any case and with or without `.exe`.

    The person's rules (pattern to category) come before the list; a rule for the whole identifier comes before one for
    its beginning (`com.example.*`), and a longer beginning before a shorter one.
    """
    name = app.lower()
    short = next((name.removesuffix(ending) for ending in _PROGRAM if name.endswith(ending)), name)
    for rules in (own, built_in()):
        for identifier in (name, short):
            found = rules.get(identifier) or _by_beginning(identifier, rules)
            if found is not None:
                return found
    return UNKNOWN


def _by_beginning(name: str, rules: dict[str, str]) -> str | None:
    """The longest rule with `*` at its end that `name` begins with."""
    for length in range(len(name), 0, -1):
        found = rules.get(f"{name[:length]}*")
        if found is not None:
            return found
    return None


@lru_cache(maxsize=1)
def built_in() -> dict[str, str]:
    """The list of well-known applications: pattern to category, from `app_categories.txt`."""
    rules: dict[str, str] = {}
    category = UNKNOWN
    for line in files("loom_models").joinpath("app_categories.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            category = line.strip("[]")
        elif line and not line.startswith("#"):
            rules.update(dict.fromkeys(line.split("|"), category))
    return rules
