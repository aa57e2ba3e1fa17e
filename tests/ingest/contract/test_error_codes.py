"""Every code of an error has its meaning in the service and its line in the documentation."""

from pathlib import Path

from loom_ingest.errors import Code
from loom_ingest.problems import MEANINGS
from loom_ingest.stream import StreamCode

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "error-codes.md"


def lines() -> dict[str, list[str]]:
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    return {row.split("`")[1]: [cell.strip() for cell in row.strip("|").split("|")] for row in rows}


def test_every_code_has_its_meaning() -> None:
    assert set(MEANINGS) == set(Code)


def test_the_page_has_every_code_as_the_service_says_it() -> None:
    found = lines()
    assert set(found) == {code.value for code in Code} | {code.value for code in StreamCode}
    for code, meaning in MEANINGS.items():
        statuses = ", ".join(map(str, meaning.statuses))
        assert found[code.value][1:] == [statuses, meaning.title, meaning.remedy]
