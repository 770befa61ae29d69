"""Tables in docs/failover.md that test runs make: each stands between <!-- NAME --> and <!-- end -->."""

import os
import re

import e2e

PAGE = e2e.ROOT / "docs" / "failover.md"
UPDATES = "POSTBUS_UPDATE_DOCS" in os.environ


def table(head: list[str], rows: list) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def _find(page: str, name: str) -> re.Match:
    return re.search(rf"(?s)(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", page)


def read(name: str) -> str:
    return _find(PAGE.read_text(), name)[0]


def write(name: str, table: str) -> None:
    page = PAGE.read_text()
    found = _find(page, name)
    PAGE.write_text(page[: found.start()] + table + page[found.end() :])


def check(test: e2e.TestCase, name: str, table: str) -> None:
    """The page has what came of this run; POSTBUS_UPDATE_DOCS=1 writes it instead."""
    print(table, flush=True)
    if UPDATES:
        write(name, table)
    test.assertEqual(read(name), table, "run this test once with POSTBUS_UPDATE_DOCS=1")
