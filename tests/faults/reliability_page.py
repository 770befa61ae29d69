"""The table of docs/reliability.md: what a scenario is and what is expected comes from the code, what was seen from runs. A run
rewrites the cells of what it ran and leaves the others."""

import argparse
import pathlib
import re

import heavy
import scenarios

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "reliability.md"
TABLES = {"scenarios": scenarios.SCENARIOS, "heavy": heavy.HEAVY}
HEAD = (
    "| # | fault | lost: none; second copies, and what else is expected | seen, short | seen, full | not covered |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)
NOT_RUN = "not run yet"


def write(results: dict, options: argparse.Namespace) -> None:
    PAGE.write_text(page_with(results, options.full, options.seed))


def page_with(results: dict, full: bool = False, seed: int = 0) -> str:
    text = PAGE.read_text()
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        old, _, after = rest.partition(end)
        seen = {cells[0]: cells[3:5] for cells in map(_cells, old.splitlines()) if len(cells) == 6}
        rows = ""
        for each in table:
            key = str(each.number)
            cells = list(seen.get(key, [NOT_RUN, NOT_RUN]))
            if each.number in results:
                cells[full] = _seen(results[each.number], seed)
            rows += f"| {key} | {each.name} | {each.expected} | {cells[0]} | {cells[1]} | {each.not_covered or '-'} |\n"
        text = before + begin + HEAD + rows + end + after
    return text


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def _seen(forms: list[tuple], seed: int) -> str:
    texts = []
    for form, sizes, outcome in forms:
        where = {0: "", 1: "Kafka: "}.get(form.kafka, f"{form.kafka} Kafkas: ")
        if isinstance(outcome, Exception):
            texts.append(f"{where}**failed**: {type(outcome).__name__}")
            continue
        if outcome.skipped:
            texts.append(f"{where}not run: {outcome.skipped}")
            continue
        if form.is_a_test_itself:
            texts.append(outcome.faults + (f" ({outcome.notes})" if outcome.notes else ""))
        else:
            rate = f" at {sizes['rate']}/s" if "rate" in sizes else ""
            copies = f"lost {len(outcome.lost)}, second copies {outcome.duplicates} (bound {outcome.bound})"
            notes = f"; {outcome.notes}" if outcome.notes else ""
            texts.append(f"{where}{outcome.mails} mails{rate}, {outcome.faults}: {copies}{notes}; seed {seed}")
        if not outcome.held:
            texts[-1] += f". **Did not hold**: {'; '.join(problem.splitlines()[0] for problem in outcome.problems) or 'see the numbers'}"
    return "<br>".join(texts).replace("|", "\\|")
