#!/usr/bin/env python3
"""Runs the fault scenarios and says of each what was lost and what came twice.

    tests/faults/run_scenarios.py                              the 20 scenarios, short
    tests/faults/run_scenarios.py --only 1,5 --seed 7          some of them, as they were with that seed
    tests/faults/run_scenarios.py --full --write-docs          the numbers of the list; writes the table of docs/reliability.md
    tests/faults/run_scenarios.py --only mixture --full        one of the heavy runs, which are run when they are named
    tests/faults/run_scenarios.py --only mixture --set mails=5000

Needs a build (--build, default build/dev), and for rows on Kafka java, maven and kcat. Brokers are started for the run, three
for row 8, where it matters; with POSTBUS_KAFKA_STATE, as ctest has it, rows that do not hurt their broker use that one, or are skipped. Exit code 0: all
held; 77: none could run.
"""

import argparse
import ast
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SUPPORT = [ROOT / "tests" / folder for folder in ("faults", "support", "support/kafka", "e2e")]
EXIT_FAILED, EXIT_SKIPPED = 1, 77
sys.dont_write_bytecode = True
sys.path[:0] = map(str, SUPPORT)

from kafka_broker import KafkaBroker, KafkaError  # noqa: E402


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="numbers or names, with commas between")
    parser.add_argument("--full", action="store_true", help="the sizes of the list; hours")
    parser.add_argument("--check", action="store_true", help="without what ./check runs as a test of its own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="SIZE=VALUE", help="another size for the named scenario")
    parser.add_argument("--build", type=pathlib.Path, default=os.environ.get("POSTBUS_BUILD_DIR", ROOT / "build" / "dev"))
    parser.add_argument("--write-docs", action="store_true", help="writes docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="names and sizes, and runs nothing")
    return parser.parse_args()


class Brokers:
    """The Kafkas of a run: those that rows share, and one of its own for each row that hurts it."""

    def __init__(self, stack: contextlib.ExitStack, state: pathlib.Path, given: bool):
        """`state`: where the C++ tests look for a broker; `given` to us, or to be written."""
        self._stack, self._state, self._given = stack, state, given
        self._shared: dict[int, str] = {}  # brokers -> bootstrap

    def shared(self, count: int) -> str:
        if self._given:
            if not self._state.exists():
                raise KafkaError("Kafka does not run; see the test kafka_start")
            return json.loads(self._state.read_text())["bootstrap"]
        if count not in self._shared:
            self._shared[count] = self._stack.enter_context(KafkaBroker(count)).bootstrap
            self._state.write_text(json.dumps({"bootstrap": self._shared[count]}))
        return self._shared[count]


def run_form(form, number, options, brokers: Brokers):
    from rig import Outcome, Rig

    sizes = {**form.sizes, **{key: ast.literal_eval(value) for key, value in (each.split("=", 1) for each in options.set)}}
    with contextlib.ExitStack() as stack:
        broker = bootstrap = None
        try:
            if form.kafka and form.own_kafka:
                broker = stack.enter_context(KafkaBroker(form.kafka))
                bootstrap = broker.bootstrap
            elif form.kafka:
                bootstrap = brokers.shared(form.kafka)
        except KafkaError as error:
            return Outcome.not_run(str(error)), sizes, 0
        rig = stack.enter_context(Rig(str(number), options.seed, bootstrap, form.labels))
        rig.broker = broker
        begin = time.monotonic()
        try:
            outcome = form.run(rig, **sizes)
        except Exception:
            print(rig.tails(15), flush=True)
            raise
        return outcome, sizes, time.monotonic() - begin


def run(scenario, options, brokers: Brokers) -> list[tuple]:
    """(form, sizes, outcome) of each of its forms."""
    results = []
    for form in scenario.full if options.full else scenario.short:
        if options.check and form.is_a_test_itself:
            continue
        where = {0: "no Kafka", 1: "Kafka"}.get(form.kafka, f"Kafka, {form.kafka} brokers")
        print(f"--- {scenario.number} {scenario.name} ({where}, seed {options.seed}, {form.sizes or 'tests'})", flush=True)
        try:
            outcome, sizes, seconds = run_form(form, scenario.number, options, brokers)
        except Exception as error:  # noqa: BLE001  told, and the others go on
            traceback.print_exc()
            results.append((form, form.sizes, error))
            continue
        results.append((form, sizes, outcome))
        if outcome.skipped:
            print(f"SKIPPED: scenario {scenario.number}: {outcome.skipped}", flush=True)
            continue
        print(
            f"    {outcome.mails} mails; {outcome.faults}\n"
            f"    lost {len(outcome.lost)}, duplicates {outcome.duplicates}, bound {outcome.bound} ({outcome.bound_is})\n"
            + (f"    {outcome.notes}\n" if outcome.notes else "")
            + "".join(f"    NOT AS EXPECTED: {problem}\n" for problem in outcome.problems)
            + (f"    LOST: {sorted(outcome.lost)[:5]}\n" if outcome.lost else "")
            + f"    {'held' if outcome.held else 'DID NOT HOLD'} in {seconds:.0f} s",
            flush=True,
        )
    return results


def main() -> int:
    options = parse()
    os.environ["POSTBUS_BUILD_DIR"] = str(options.build.absolute())
    with contextlib.ExitStack() as stack:
        given = "POSTBUS_KAFKA_STATE" in os.environ
        if not given:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="postbus-faults-kafka-"))
            os.environ["POSTBUS_KAFKA_STATE"] = f"{directory}/kafka.json"
        import reliability_page
        from heavy import HEAVY
        from scenarios import SCENARIOS

        wanted = [word for word in options.only.split(",") if word]
        known = {str(each.number): each for each in [*SCENARIOS, *HEAVY]}
        if unknown := set(wanted) - known.keys():
            print(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
            return 64
        chosen = [known[word] for word in wanted] if wanted else list(SCENARIOS)
        if options.list:
            for each in chosen:
                print(each.number, each.name, *(form.sizes for form in (each.full if options.full else each.short)), sep="\t")
            return 0
        brokers = Brokers(stack, pathlib.Path(os.environ["POSTBUS_KAFKA_STATE"]), given)
        results = {each.number: run(each, options, brokers) for each in chosen}
        if options.write_docs:
            reliability_page.write(results, options)
        outcomes = [outcome for forms in results.values() for _, _, outcome in forms]
        held = [getattr(outcome, "held", False) for outcome in outcomes if not getattr(outcome, "skipped", "")]
        print(f"{sum(held)} of {len(held)} held, {len(outcomes) - len(held)} skipped, seed {options.seed}")
        if not held:
            return EXIT_SKIPPED
        return 0 if all(held) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
