"""The categories that a person gives to applications, in the table `app_categories`; and the applications there were.

Every change takes a new revision. One that is taken back stays in the table with `deleted_at`, so that the revision
only grows: a recompute that was broken off does not go on with other categories than it began with.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from loom_models.app_categories import built_in, category_of
from loom_platform.errors import PlatformError

Connection = psycopg.Connection[Any]

_CATEGORY: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SET: Final = """
INSERT INTO app_categories (pattern, category) VALUES (%s, %s)
ON CONFLICT (pattern) DO UPDATE SET category = EXCLUDED.category, revision = nextval('app_category_revisions'),
    updated_at = now(), deleted_at = NULL
"""
_UNSET: Final = """
UPDATE app_categories SET deleted_at = now(), updated_at = now(), revision = nextval('app_category_revisions')
WHERE pattern = %s AND deleted_at IS NULL
"""
_USED: Final = """
SELECT app_identifier, (array_agg(app_name ORDER BY timestamp DESC) FILTER (WHERE app_name IS NOT NULL))[1] AS app_name,
    count(*) AS sessions, coalesce(sum(duration_seconds), 0) / 3600 AS hours, max(timestamp) AS last_used
FROM os_events_app_session_detected_current WHERE timestamp >= now() - %s
GROUP BY app_identifier ORDER BY hours DESC, app_identifier
"""


class AppCategoryError(PlatformError):
    """A category or an application's identifier is not usable, or nothing is set for it."""


@dataclass(frozen=True, slots=True)
class OwnCategory:
    """What the person said of an identifier, or of all that begin so (`*` at the end)."""

    pattern: str
    category: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class UsedApp:
    """An application that was in front: how often and for how many hours."""

    app_identifier: str
    app_name: str | None
    sessions: int
    hours: float
    last_used: datetime


def set_category(connection: Connection, pattern: str, category: str) -> OwnCategory:
    """Say what an application is; raises AppCategoryError that names what is wrong."""
    name, category = _pattern(pattern), category.strip().lower()
    if not _CATEGORY.fullmatch(category):
        raise AppCategoryError(
            f"category {category[:64]!r}: must be a letter and up to 63 letters, digits, - and _, such as "
            + ", ".join(sorted(set(built_in().values())))
        )
    connection.execute(_SET, (name, category))
    return next(c for c in own_categories(connection) if c.pattern == name)


def unset_category(connection: Connection, pattern: str) -> None:
    """Take back what was said; raises AppCategoryError that lists what is set when this is not."""
    name = _pattern(pattern)
    if not connection.execute(_UNSET, (name,)).rowcount:
        known = ", ".join(c.pattern for c in own_categories(connection)) or "nothing"
        raise AppCategoryError(f"no category is set for {name!r}; set is: {known}")


def own_categories(connection: Connection) -> list[OwnCategory]:
    """What the person said, in order of the pattern."""
    statement = "SELECT pattern, category, updated_at FROM app_categories WHERE deleted_at IS NULL ORDER BY pattern"
    with connection.cursor(row_factory=class_row(OwnCategory)) as cursor:
        return cursor.execute(statement).fetchall()


def used_apps(connection: Connection, since: timedelta) -> list[tuple[UsedApp, str]]:
    """The applications that were in front in that time up to now, each with the category that it has today."""
    rules = {c.pattern: c.category for c in own_categories(connection)}
    with connection.cursor(row_factory=class_row(UsedApp)) as cursor:
        return [(app, category_of(app.app_identifier, rules)) for app in cursor.execute(_USED, (since,)).fetchall()]


def _pattern(pattern: str) -> str:
    name = pattern.strip().lower()
    if not 1 <= len(name) <= 256 or "\x00" in name or "*" in name[:-1] or name == "*":
        raise AppCategoryError(
            f"application {pattern[:64]!r}: must be 1 to 256 characters, with a * at the end or none, "
            "such as com.example.notes or com.example.*; `loom apps list` shows those that were used"
        )
    return name
