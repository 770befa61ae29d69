"""The 20 fault scenarios. Each is a function of a Rig and the sizes of its row; the table is at the end."""

import bisect
import collections
import dataclasses
import datetime
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import typing

import e2e
from postbus_process import get, wait_until
from rig import COMMIT_SECONDS, PATIENCE_SECONDS, SESSION_SECONDS, Outcome, Rig, gtest, metric_of

# So that there are always mails past their final dot.
ANSWERS_MS = 20


def enough_connections(rig: Rig, rate: float) -> None:
    """For that rate, by each host alone, though the server takes its time."""
    rig.write_config(transports=f"{{ primary: {rig.smtp(max_connections=max(16, int(rate / 20)))} }}")


def some_slow(rng) -> str:
    """So that there are always mails before it, too, which others of their partition have overtaken."""
    return "data-slow" if rng.random() < 0.03 else ""


# --- processes that die, stop and move (rows 1-6) ---

# R·T: what the server had answered, and no commit said so yet. A commit is made every 50 ms and takes a round trip.
R_T = "the last commit interval and round trip, by id"


def kill_one_of_three(rig: Rig, kills: int, rate: float, away_every: int, judge_stands: bool = False) -> Outcome:
    """Each `away_every`th time the host stays away until its session is over, so that its partitions move."""
    enough_connections(rig, rate)
    rig.make_topics()
    labels = ("a", "b", "c")
    api = rig.start_api()
    for label in labels:
        rig.start_host(label)
    rig.wait_for_assignment(3)
    for label in labels:
        rig.server.do("delay", label, ANSWERS_MS)
    feeder = rig.feed(api, rig.mails(some_slow), rate)
    allowed, bound, moves = set(), 0, 0
    stands: list[float] = []
    for kill in range(1, kills + 1):
        victim = rig.rng.choice(labels)
        rig.wait_for_mails(int(rate / 20) + 1, victim)
        time.sleep(rig.rng.uniform(0, 0.5))
        begin = time.time()
        unknown, recent = rig.kill(victim, COMMIT_SECONDS + feeder.round_trip())
        if kill % away_every == 0:
            time.sleep(SESSION_SECONDS + 2)
        rig.hosts[victim].start()
        rig.wait_for_assignment(3)
        if time.time() - begin > SESSION_SECONDS - 1:  # on a busy machine a restart takes as long, too
            moves += 1
            unknown |= recent
        allowed |= unknown
        bound += len(unknown)
        stands += [longest_stand(rig, feeder, label, begin, time.time()) for label in labels if label != victim]
    acknowledged = feeder.stop()
    problems = [f"a survivor stood for {max(stands):.1f} s"] if judge_stands and max(stands) > 2 else []
    return rig.outcome(
        acknowledged, f"{kills} kills, after {moves} of them the partitions moved", bound,
        "I, and where partitions moved what was answered in " + R_T, allowed=allowed,
        posted=feeder.posted, problems=problems, notes=f"{feeder.rate():.0f} mails/s; a survivor's longest stand {max(stands):.1f} s",
    )  # fmt: skip


def longest_stand(rig: Rig, feeder, label: str, begin: float, end: float) -> float:
    """For how long no mail came from a host, once so many had been acknowledged that some must have been its."""
    enough = 40
    times = [begin]
    for entry in reversed(rig.server.read()):
        if entry.time < begin:
            break
        if entry.label == label and entry.what == "reply" and entry.time <= end:
            times.append(entry.time)
    times = sorted([*times, end])
    acknowledged = sorted(feeder.acknowledged.copy().values())
    longest = 0.0
    for before, after in zip(times, times[1:]):
        waiting = bisect.bisect(acknowledged, before) + enough
        if waiting < len(acknowledged):
            longest = max(longest, after - max(before, acknowledged[waiting]))
    return longest


def kill_all(rig: Rig, hosts: int, rate: float, seconds: float, down: float) -> Outcome:
    enough_connections(rig, rate)
    rig.make_topics()
    labels = ["a", "b", "c"][:hosts]
    api = rig.start_api()
    for label in labels:
        rig.start_host(label)
    rig.wait_for_assignment(hosts)
    for label in labels:
        rig.server.do("delay", label, ANSWERS_MS)
    feeder = rig.feed(api, rig.mails(some_slow), rate)
    rig.wait_for_mails(int(rate * seconds / 2))
    commit = COMMIT_SECONDS + feeder.round_trip()
    killed = [rig.kill(label, commit) for label in labels]
    time.sleep(down)
    for label in labels:
        rig.hosts[label].start()
    rig.wait_for_mails(int(rate * seconds / 2))
    acknowledged = feeder.stop()
    allowed = set().union(*(unknown | recent for unknown, recent in killed))
    return rig.outcome(acknowledged, f"{hosts} hosts killed at once, {down:.0f} s away", len(allowed),
                       "I, and what was answered in " + R_T, allowed=allowed, posted=feeder.posted)  # fmt: skip


def power_loss(rig: Rig, kills: int, rate: float) -> Outcome:
    """The journal is of an earlier boot then, and begun anew: here it is removed."""
    enough_connections(rig, rate)
    rig.make_topics()
    api = rig.start_api()
    host = rig.start_host("a")
    rig.wait_for_assignment()
    feeder = rig.feed(api, rig.mails(some_slow), rate)
    allowed, bound = set(), 0
    rig.server.do("delay", "a", ANSWERS_MS)
    for _ in range(kills):
        rig.wait_for_mails(int(rate))
        time.sleep(rig.rng.uniform(0, 0.5))
        unknown, recent = rig.kill("a", COMMIT_SECONDS + feeder.round_trip())
        shutil.rmtree(rig.directory / "state-a" / "journal")
        allowed |= unknown | recent
        bound += len(unknown | recent)
        host.start()
    rig.wait_for_mails(int(rate / 2))
    acknowledged = feeder.stop()
    return rig.outcome(acknowledged, f"{kills} kills, the journals discarded", bound,
                       "I, and what was answered in " + R_T, allowed=allowed, posted=feeder.posted)  # fmt: skip


def stop_under_load(rig: Rig, stops: int, rate: float) -> Outcome:
    enough_connections(rig, rate)
    rig.make_topics()
    api = rig.start_api()
    host = rig.start_host("a")
    rig.wait_for_assignment()
    feeder = rig.feed(api, rig.mails(some_slow), rate)
    problems = []
    rig.server.do("delay", "a", ANSWERS_MS)
    for _ in range(stops):
        rig.wait_for_mails(int(rate / 4) + 1)
        time.sleep(rig.rng.uniform(0, 0.3))
        if (code := host.stop()) != 0:
            problems.append(f"exit code {code}")
        if "nothing was left unfinished" not in host.output():
            problems.append("something was left unfinished")
        host.start()
    rig.wait_for_mails(int(rate / 4) + 1)
    rig.server.do("delay", "a", 0)
    acknowledged = feeder.stop()
    return rig.outcome(acknowledged, f"{stops} times SIGTERM, answers after {ANSWERS_MS} ms", 0, "0: the server answers in time",
                       allowed=set(), problems=problems, posted=feeder.posted)  # fmt: skip


def zombie(rig: Rig, rate: float, seconds: float) -> Outcome:
    enough_connections(rig, rate)
    rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    rig.start_host("b")
    rig.wait_for_assignment(2)
    feeder = rig.feed(api, rig.mails(some_slow), rate)
    rig.wait_for_mails(int(rate))
    rig.wait_for_mails(int(rate / 4) + 1, "a")
    rig.server.do("delay", "a", ANSWERS_MS)
    time.sleep(rig.rng.uniform(0.2, 0.7))
    commit = COMMIT_SECONDS + feeder.round_trip()
    os.kill(rig.hosts["a"].pid, signal.SIGSTOP)
    stopped_at = time.time()
    try:
        time.sleep(1)  # answers that are under way
        past = rig.server.do("unknown", "a")
        time.sleep(seconds)
    finally:
        os.kill(rig.hosts["a"].pid, signal.SIGCONT)
    resumed_at = time.time()
    rig.wait_for_mails(int(rate))
    acknowledged = feeder.stop()
    unknown = set(past["ids"])
    recent = {each.id for each in rig.server.read()
              if each.label == "a" and each.what == "reply" and stopped_at - commit <= each.time <= stopped_at + 1} - unknown
    bound = len(unknown | recent) + past["in_body"]
    moved = sum(each.label == "b" and stopped_at + SESSION_SECONDS < each.time < resumed_at for each in rig.server.read())
    return rig.outcome(
        acknowledged, f"one of two hosts stopped for {seconds:.0f} s", bound,
        "I at SIGSTOP, and what was answered in " + R_T, problems=[] if moved else ["no partition moved"], posted=feeder.posted,
        notes=f"{len(unknown)} past their dot; the other host sent {moved} after the session's end",
    )  # fmt: skip


def members_come_and_go(rig: Rig, rounds: int, rate: float, pause: float) -> Outcome:
    """A host that comes has a new state directory, so it is a new member; one that goes is missed after its session."""
    rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    rig.start_host("b")
    rig.wait_for_assignment(2)
    feeder = rig.feed(api, rig.mails(some_slow), rate)
    for n in range(rounds):
        rig.start_host("c", state=f"c{n}")
        rig.wait_for_assignment(3)
        time.sleep(rig.rng.uniform(0, pause))
        rig.hosts["c"].stop()
        rig.wait_for_assignment(2)
        time.sleep(rig.rng.uniform(0, pause))
    acknowledged = feeder.stop()
    return rig.outcome(acknowledged, f"{rounds} times a member joined and left", 0, "0: no answer took 5 s", allowed=set(),
                       posted=feeder.posted)  # fmt: skip


# --- Kafka (rows 7-10) ---


def kafka_down(rig: Rig, rate: float, seconds: float) -> Outcome:
    rig.make_topics()
    api = rig.start_api()
    host = rig.start_host("a")
    rig.wait_for_assignment()
    rig.server.do("delay", "a", 10)
    feeder = rig.feed(api, rig.mails(), rate, batch=5)
    rig.wait_for_mails(int(rate * 2))
    problems = []
    for pid in rig.broker.pids:
        os.kill(pid, signal.SIGSTOP)
    stopped_at = time.time()
    try:
        time.sleep(seconds)
        last = max((each.time for each in rig.server.read() if each.what in ("kept", "dot")), default=0) - stopped_at
        acknowledged_while_down = [id for id, at in feeder.acknowledged.items() if at > stopped_at + 0.5]
    finally:
        for pid in rig.broker.pids:
            os.kill(pid, signal.SIGCONT)
    resumed_at = time.time()
    if acknowledged_while_down:
        problems.append(f"{len(acknowledged_while_down)} acknowledged while no broker ran")
    if last > 12:
        problems.append(f"still sending after {last:.0f} s")
    if seconds > 150 and not feeder.refusals[503]:  # a record is given up after 2 min
        problems.append("the API did not answer 503")
    rig.wait_for_mails(int(rate * 2))
    again = min(each.time for each in rig.server.read() if each.what in ("kept", "dot") and each.time > resumed_at) - resumed_at
    acknowledged = feeder.stop()
    return rig.outcome(
        acknowledged, f"the broker stood still for {seconds:.0f} s", 0, "0: the partitions came back to the same host", allowed=set(),
        problems=problems, posted=feeder.posted,
        notes=f"sent for {max(last, 0):.1f} s more, and {again:.1f} s after it came back; "
              f"answers but 202: {dict(feeder.refusals) or 'none'}",
    )  # fmt: skip


def brokers_move(rig: Rig, rounds: int, rate: float, down: float) -> Outcome:
    """One broker of three at a time ends and comes back: its leaders and coordinators move, then back. Every second time, from
    the second on, it is killed and hands nothing over."""
    rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    rig.start_host("b")
    rig.wait_for_assignment(2)
    feeder = rig.feed(api, rig.mails(), rate)
    rig.wait_for_mails(int(rate))
    for n in range(rounds):
        node = n % 3 + 1
        rig.broker.end_node(node, signal.SIGKILL if n % 2 else signal.SIGTERM)
        rig.wait_for_mails(int(rate))
        time.sleep(down)
        rig.broker.start_node(node)
        rig.wait_for_mails(int(rate))
    last_move = time.time()
    acknowledged = feeder.stop()
    outcome = rig.outcome(acknowledged, f"{rounds} times one of three brokers ended", 0, "0", allowed=set(), posted=feeder.posted)
    done = time.time() - last_move
    outcome.notes = f"all was done {done:.0f} s after the last move; answers but 202: {dict(feeder.refusals) or 'none'}"
    return outcome


def by_gtest(program: str, *tests: str) -> typing.Callable[[Rig], Outcome]:
    """What a C++ test shows: faults that are injected where no program reaches."""

    def run(rig: Rig) -> Outcome:
        del rig
        passed, ran, tail = gtest(program, ":".join(tests))
        return Outcome(ran, f"{ran} tests of {program}", set(), 0, 0, "asserted by the tests",
                       [] if passed else [f"{program}: {tail}"], ", ".join(f"`{test}`" for test in tests))  # fmt: skip

    run.is_a_test_itself = True
    return run


# --- retries, servers that fail (rows 11-16) ---


def crash_between_copy_and_commit(rig: Rig, kills: int, rate: float) -> Outcome:
    """Every mail is refused once, so that every turn ends with a copy; the journal, which knows of it, is discarded."""
    rig.make_topics()
    api = rig.start_api()
    host = rig.start_host("a")
    rig.wait_for_assignment()
    feeder = rig.feed(api, rig.mails(lambda _: "dot-451-1"), rate)
    bound = 0
    for _ in range(kills):
        rig.wait_for_mails(int(rate))
        time.sleep(rig.rng.uniform(0, 0.5))
        # A move is a copy's way from topic to topic: one after the refusal, one when the copy is due.
        commit = COMMIT_SECONDS + 2 * feeder.round_trip()
        moves = rig.most_within(commit)
        unknown, recent = rig.kill("a", commit)
        shutil.rmtree(rig.directory / "state-a" / "journal")
        bound += len(unknown) + 2 * moves
        host.start()
    rig.wait_for_mails(int(rate / 2))
    acknowledged = feeder.stop()
    return rig.outcome(acknowledged, f"every mail refused once; {kills} kills, the journals discarded", bound,
                       "I, and the moves of a commit interval and two round trips to Kafka", posted=feeder.posted)  # fmt: skip


def reply_lost(rig: Rig, mails: int, rate: float) -> Outcome:
    if rig.on_kafka:
        rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    made = rig.mails(lambda rng: "dot-fin-1" if rng.random() < 0.01 else "", limit=mails)
    feeder = rig.feed(api, made, rate)
    acknowledged = feeder.finish()
    lost_replies = {id for id, fault in made.faults.items() if fault and id in acknowledged}
    problems = []
    outcome = rig.outcome(acknowledged, f"{len(lost_replies)} replies lost", len(lost_replies), "exactly those, one copy more each",
                          allowed=lost_replies, problems=problems, posted=feeder.posted)  # fmt: skip
    if outcome.duplicates != len(lost_replies):
        outcome.problems.append(f"{outcome.duplicates} second copies")
    return outcome


def reply_lost_at_most_once(rig: Rig, mails: int, rate: float) -> Outcome:
    """The other half of row 12, for the configuration `retry: { in_doubt: dead_letter }`."""
    rig.write_config(retry="{ backoff: [1s], max_retries: 5, in_doubt: dead_letter }")
    if rig.postbus("validate").returncode != 0:
        return Outcome.not_run("this build has no `retry.in_doubt`")
    if rig.on_kafka:
        rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    made = rig.mails(lambda rng: "dot-fin-1" if rng.random() < 0.01 else "", limit=mails)
    feeder = rig.feed(api, made, rate)
    acknowledged = feeder.finish()
    lost_replies = {id for id, fault in made.faults.items() if fault and id in acknowledged}
    outcome = rig.outcome(acknowledged, f"{len(lost_replies)} replies lost, at most once", 0, "0", allowed=set(), posted=feeder.posted)
    if {id for id, why in rig.dead.items() if why == "in_doubt"} != lost_replies or len(rig.dead) != len(lost_replies):
        outcome.problems.append(f"{len(rig.dead)} dead letters for {len(lost_replies)} lost replies")
    return outcome


def hangs_after_the_dot(rig: Rig, connections: int, rate: float, seconds: float, judge_latency: bool) -> Outcome:
    if rig.on_kafka:
        rig.make_topics()
    ill = rig.smtp(port=rig.server.port("ill"), max_connections=connections, data_termination_timeout="6s")
    well = rig.smtp(port=rig.server.port("a"))
    rig.write_config(transports=f"{{ well: {well}, ill: {ill} }}", routes="[ { match: { tag: ill }, use: [ill] }, { use: [well] } ]")
    api = rig.start_api()
    rig.start_host("a")

    def delays(feeder) -> list[float]:
        wait_until(lambda: feeder.acknowledged.keys() <= rig.sink.update().first_at.keys(), 60, "the mails of the other route")
        return [rig.sink.first_at[id] - at for id, at in feeder.acknowledged.items()]

    before = rig.feed(api, rig.mails(limit=int(rate * seconds)), rate)
    before.finish()
    quiet = delays(before)
    hanging = rig.mails(lambda _: "dot-hang-1", limit=connections, tags=["ill"])
    hung = rig.feed(api, hanging, 10 * rate)
    hung.finish()
    wait_until(lambda: sum(each.what == "lost" for each in rig.server.read()) >= connections // 2, 60, "mails that hang")
    beside = rig.feed(api, rig.mails(limit=int(rate * seconds)), rate)
    beside.finish()
    loud = delays(beside)
    acknowledged = set(before.acknowledged) | set(hung.acknowledged) | set(beside.acknowledged)
    p99 = [statistics.quantiles(values, n=100)[98] * 1000 for values in (quiet, loud)]
    problems = []
    if judge_latency and p99[1] > max(1.1 * p99[0], p99[0] + 20):
        problems.append(f"the other route's p99 rose from {p99[0]:.0f} to {p99[1]:.0f} ms")
    outcome = rig.outcome(acknowledged, f"{len(hung.acknowledged)} connections hung after the dot", len(hung.acknowledged),
                          "exactly those, one copy more each", allowed=set(hung.acknowledged), problems=problems,
                          notes=f"the other route's p99 {p99[0]:.0f} ms before, {p99[1]:.0f} ms meanwhile")  # fmt: skip
    gaps = times_between(rig, set(hung.acknowledged))
    if gaps and min(gaps) < 6:
        outcome.problems.append(f"in doubt after {min(gaps):.1f} s")
    return outcome


def times_between(rig: Rig, ids: set[str]) -> list[float]:
    """From one copy of a mail to the next."""
    last: dict[str, float] = {}
    gaps = []
    for each in rig.server.read():
        if each.id in ids and each.what in ("kept", "dot", "lost"):
            if each.id in last:
                gaps.append(each.time - last[each.id])
            last[each.id] = each.time
    return gaps


def times_between_attempts(rig: Rig) -> list[float]:
    """From one answer for a recipient to the next, sent or refused."""
    last: dict[str, float] = {}
    gaps = []
    for each in rig.server.read():
        if each.what in ("refused", "kept"):
            if each.recipient in last:
                gaps.append(each.time - last[each.recipient])
            last[each.recipient] = each.time
    return gaps


def longest_pause(rig: Rig) -> str:
    times = [each.time for each in rig.server.read() if each.what in ("kept", "refused")]
    return f"the longest pause {max((b - a for a, b in zip(times, times[1:])), default=0):.1f} s"


def broken_before_the_dot(rig: Rig, mails: int, rate: float) -> Outcome:
    if rig.on_kafka:
        rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    faults = [f"{phase}-{action}-1" for phase in ("mail", "rcpt", "data", "body") for action in ("421", "rst", "fin")]
    faults.remove("body-421-1")  # a server that answers within a mail: what it says is read when the dot is sent
    made = rig.mails(lambda rng: rng.choice(faults) if rng.random() < 0.3 else "", limit=mails)
    feeder = rig.feed(api, made, rate)
    for phase in ("connect", "ehlo"):
        for action in ("421", "rst", "fin"):
            rig.wait_for_mails(mails // 20)
            rig.server.do("answer", "a", phase, action)
            time.sleep(0.3)
            rig.server.do("answer", "a", phase, "-")
    acknowledged = feeder.finish()
    outcome = rig.outcome(acknowledged, "", 0, "0", allowed=set(), posted=feeder.posted)
    done = collections.Counter(each.id for each in rig.server.read() if each.what in ("refused", "cut"))
    outcome.faults = ", ".join(f"{count} × {phase}" for phase, count in sorted(done.items()))
    if missing := {"mail", "rcpt", "data", "body"} - done.keys():
        outcome.problems.append(f"no fault at {missing}")
    return outcome


def all_refuse(rig: Rig, mails: int, rate: float, seconds: float, backoff: int) -> Outcome:
    if rig.on_kafka:
        rig.make_topics()
    rig.write_config(retry=f"{{ backoff: [{backoff}s], max_retries: 20, max_retries_limit: 20 }}")
    api = rig.start_api()
    rig.start_host("a")
    rig.server.do("answer", "a", "rcpt", "450")
    begin = time.time()
    feeder = rig.feed(api, rig.mails(limit=mails, max_retries=20), rate)
    acknowledged = feeder.finish()
    time.sleep(max(0, begin + seconds - time.time()))
    rig.server.do("answer", "a", "rcpt", "-")
    fine_at = time.time()
    outcome = rig.outcome(acknowledged, f"every mail refused with 450 for {time.time() - begin:.0f} s", 0, "0", allowed=set(),
                          posted=feeder.posted)  # fmt: skip
    gaps = times_between_attempts(rig)
    if min(gaps, default=0) < backoff:
        outcome.problems.append(f"an attempt after {min(gaps, default=0):.3f} s, the back-off is {backoff} s")
    latest = max(rig.sink.first_at.values()) - fine_at
    first = min(gaps, default=0)
    outcome.notes = (f"{len(gaps)} attempts again, the first {first:.2f} s after the one before; "
                     f"the last mail came {latest:.1f} s after the server was well")  # fmt: skip
    return outcome


POISON = {
    "too deep": b"[" * 1_000_000,
    "2 MiB": b'{"type":"x","message":{"to":"' + b"a" * 1_900_000 + b'"}}',
    "no UTF-8": b'{"type":"\xff\xfe","message":{"to":"a@b.example","template":"notice"}}',
    "NUL": b'{"type":"x","message":{"to":"a\\u0000b@c.example","template":"notice"}}\x00',
    "empty": b"",
}


def add_poison(rig: Rig, count: int) -> set[str]:
    """Writes so many records of all kinds; returns the ids they will be known by."""
    ids: set[str] = set()
    kinds = list(POISON)
    # Nobody else writes to this topic, so the places are known, and a record without an id is named after its place.
    topic = rig.kafka.topic + "-low"
    while len(ids) < count:
        partition = rig.rng.randrange(24)
        first = rig.kafka.end_offset(topic, partition)
        some = kinds[: count - len(ids)]
        for n, kind in enumerate(some):
            if not POISON[kind]:
                rig.kafka.produce_empty(topic, partition)  # kcat sends nothing for a file without content
                continue
            file = rig.directory / f"poison-{n}"
            file.write_bytes(POISON[kind])
            rig.kafka.produce_files([file], partition, topic)
        ids |= {f"{topic}.{partition}.{offset}" for offset in range(first, first + len(some))}
    return ids


def poison_among_mails(rig: Rig, mails: int, poison: int, rate: float) -> Outcome:
    rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    rig.wait_for_assignment()
    feeder = rig.feed(api, rig.mails(limit=mails), rate)
    expected = add_poison(rig, poison)
    acknowledged = feeder.finish()
    wait_until(lambda: len(rig.read_dead_letters()) >= poison, PATIENCE_SECONDS, "the dead letters")
    outcome = rig.outcome(acknowledged, f"{poison} poison records: {', '.join(POISON)}", 0, "0", allowed=set(), posted=feeder.posted)
    if rig.dead.keys() != expected:
        outcome.problems.append(f"{len(rig.dead)} dead letters, {len(expected)} expected: not {sorted(rig.dead.keys() ^ expected)[:3]}")
    outcome.notes = f"{len(rig.dead)} dead letters, exactly those; {longest_pause(rig)}"
    return outcome


# --- plugins, disk, clock (rows 17-20) ---


def by_script(script: str, *classes: str) -> typing.Callable[[Rig], Outcome]:
    """What an end-to-end test shows, which judges by ids as we do."""

    def run(rig: Rig) -> Outcome:
        del rig
        command = [sys.executable, str(e2e.ROOT / "tests" / "e2e" / script), *classes]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
        ran = re.search(r"^Ran (\d+) test", done.stderr, re.MULTILINE)
        said = done.stdout.strip().splitlines()[-1:]
        return Outcome(int(ran[1]) if ran else 0, f"`{script}`: {', '.join(classes)}", set(), 0, 0, "asserted by the tests",
                       [] if done.returncode == 0 else [done.stderr[-2000:]], "".join(said))  # fmt: skip

    run.is_a_test_itself = True
    return run


def plugin_misbehaves(rig: Rig, mails: int) -> Outcome:
    """Completes twice; never completes, and then the host is killed. The plugin has no server, so it writes who it sent to."""
    plugin = e2e.BUILD / "tests" / "plugins" / "scripted_transport.so"
    holds = rig.directory / "holds"
    holds.touch()
    record = rig.directory / "record"
    scripted = f'{{ plugin: "{plugin}", options: {{ fault_file: "{holds}", record_file: "{record}" }} }}'
    rig.write_config(transports=f"{{ ill: {scripted}, well: {rig.smtp()} }}",
                     routes="[ { match: { tag: ill }, use: [ill] }, { use: [well] } ]")  # fmt: skip
    api = rig.start_api()
    host = rig.start_host("a")
    twice = rig.feed(api, rig.mails(lambda _: "twice", limit=mails, tags=["ill"]), 1000)
    twice.finish()
    wait_until(lambda: metric_of(host, "postbus_duplicate_completions_total") == mails, 60, "completions that are one too many")
    held = rig.feed(api, rig.mails(lambda _: "hold-while-file", limit=mails, tags=["ill"]), 1000)
    held.finish()
    wait_until(lambda: host.metric("postbus_email_inflight") == mails, 60, "mails that the plugin keeps")
    well = rig.feed(api, rig.mails(limit=mails), 1000)
    well.finish()
    wait_until(lambda: well.acknowledged.keys() <= rig.sink.update().sent(), 60, "the mails of the other route")
    host.kill()
    holds.unlink()
    host.start()
    acknowledged = set(twice.acknowledged) | set(held.acknowledged) | set(well.acknowledged)

    def sent_by_plugin() -> collections.Counter:
        recipients = [line.split("|")[0].split()[1] for line in record.read_text().splitlines() if line.startswith("rcpt ")]
        return collections.Counter(recipients)

    words = (("twice", twice), ("hold-while-file", held))
    by_recipient = {f"{word}+{id[:13]}@{e2e.DOMAIN}": id for word, feeder in words for id in feeder.acknowledged}
    wait_until(lambda: by_recipient.keys() <= sent_by_plugin().keys(), 60, "the mails the plugin had kept")
    copies = sent_by_plugin()
    problems = [f"{recipient.split('+')[0]}: {count} copies" for recipient, count in copies.items() if count != 1]
    return rig.outcome(acknowledged, f"{mails} completed twice, {mails} never, then kill -9", 0, "0: none was past its point of no return",
                       allowed=set(), problems=problems, also={by_recipient[recipient] for recipient in copies})  # fmt: skip


def disk_full(rig: Rig, mails: int, rate: float) -> Outcome:
    """A small file system of its own under the queue file, the journal and the state directory."""
    disk = rig.directory / "disk"
    disk.mkdir()
    with small_disk(disk, "24m") as mounted:
        if not mounted:
            return Outcome.not_run("no file system can be mounted here (needs root)")
        rig.write_config(queue=f"{{ type: sqlite, sqlite: {{ path: {disk}/postbus.db }} }}", state_dir=str(disk / "state"))
        host = rig.start_host("a", role="serve", settings={"state_dir": str(disk / "state")})
        rig.server.do("delay", "a", 20)
        feeder = rig.feed(host, rig.mails(limit=mails), rate)
        rig.wait_for_mails(mails // 8)
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except OSError:
                pass
        problems = []
        # More than fits: what the file has room for in its free pages is accepted, then nothing is.
        big = rig.mails(limit=200, metadata={"padding": "x" * 500})
        probe = rig.feed(host, big, 10_000, batch=20)
        probe.finish()
        if not feeder.refusals and not probe.refusals:
            problems.append("nothing was refused with a full disk")
        ready = get(host.admin, "/readyz").status
        filler.unlink()
        acknowledged = feeder.finish() | set(probe.acknowledged)
        after = rig.feed(host, rig.mails(limit=50), 1000)
        acknowledged |= after.finish()
        if len(after.acknowledged) != 50:
            problems.append(f"after there was room again only {len(after.acknowledged)} of 50 were accepted: {after.refusals}")
        refused = feeder.refusals + probe.refusals
        return rig.outcome(acknowledged, "the disk was full", 0, "0", allowed=set(), problems=problems,
                           notes=f"refused meanwhile: {dict(refused)}; /readyz {ready}")  # fmt: skip


class small_disk:  # noqa: N801  used as a function
    """A tmpfs of this size at a directory, if it can be had."""

    def __init__(self, directory: pathlib.Path, size: str):
        self._directory, self._size = directory, size

    def __enter__(self) -> bool:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self._size}", "none", str(self._directory)], capture_output=True)
        self._mounted = done.returncode == 0
        return self._mounted

    def __exit__(self, *_) -> None:
        if self._mounted:
            subprocess.run(["umount", "-l", str(self._directory)], check=True)


def clock_steps(rig: Rig, mails: int, seconds: float) -> Outcome:
    """The host's wall clock is set forth by an hour, back by an hour and right again, while mails wait for their time."""
    library = faketime_library()
    if library is None:
        return Outcome.not_run("the package faketime is not there")
    if rig.on_kafka:
        rig.make_topics()
    clock = rig.directory / "clock"
    clock.write_text("+0\n")
    api = rig.start_api()
    rig.start_host("a", environment={
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    })  # fmt: skip
    begin = time.time()
    due: dict[str, float] = {}

    def scheduled():
        for mail in rig.mails(limit=mails):
            scheduled_at = rfc3339(begin + 1 + rig.rng.uniform(0, seconds))
            due[mail["id"]] = unix_time(scheduled_at)
            yield {**mail, "scheduled_at": scheduled_at}

    feeder = rig.feed(api, scheduled(), 1000)
    acknowledged = feeder.finish()
    for step in ("+3600", "-3600", "+0"):
        time.sleep(max(0.5, seconds / 3))
        new = clock.with_suffix(".new")
        new.write_text(f"{step}\n")
        new.rename(clock)
    outcome = rig.outcome(acknowledged, "the wall clock stepped by +1 h, -1 h and back", 0, "0", allowed=set(), posted=feeder.posted)
    late = [rig.sink.first_at[id] - due[id] for id in acknowledged if id in rig.sink.first_at]
    if early := sum(each < -0.0001 for each in late):  # the ledger rounds
        outcome.problems.append(f"{early} came early, the first by {-min(late) * 1000:.1f} ms")
    if not any(abs(unix_time(found) - begin) > 3000 for found in re.findall(r'"ts":"([^"]+)"', rig.hosts["a"].output())):
        outcome.problems.append("the host's clock was not stepped")
    outcome.notes = f"none before its time, by the true clock; the last {max(late, default=0):.1f} s after it"
    return outcome


def faketime_library() -> str | None:
    """To be preloaded. None where the package faketime is not there."""
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return str(found[0]) if found else None


def rfc3339(unix: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix)) + f".{int(unix * 1000) % 1000:03d}Z"


def unix_time(rfc3339_text: str) -> float:
    return datetime.datetime.fromisoformat(rfc3339_text.replace("Z", "+00:00")).timestamp()


# --- the table ---


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to run a scenario."""

    run: typing.Callable[..., Outcome]
    sizes: dict = dataclasses.field(default_factory=dict)
    kafka: int = 1  # brokers; 0: SQLite
    own_kafka: bool = False  # which is hurt
    labels: tuple = ("a",)

    @property
    def is_a_test_itself(self) -> bool:
        return getattr(self.run, "is_a_test_itself", False)


@dataclasses.dataclass(frozen=True)
class Scenario:
    number: int | str  # of the list; a heavy run's is its name
    name: str
    expected: str
    short: tuple[Form, ...]
    full: tuple[Form, ...]
    not_covered: str = ""


def both(run, kafka=1, own_kafka=False, labels=("a",), short=None, full=None) -> dict:
    return {
        "short": (Form(run, short or {}, kafka, own_kafka, labels),),
        "full": (Form(run, full or {}, kafka, own_kafka, labels),),
    }


THREE = ("a", "b", "c")
SCENARIOS = [
    Scenario(1, "kill -9 of one host of three", "≤ I per kill; where the partitions move ≤ I + R·T",
             **both(kill_one_of_three, labels=THREE, short={"kills": 3, "rate": 200, "away_every": 3},
                    full={"kills": 50, "rate": 2000, "away_every": 5})),
    Scenario(2, "kill -9 of all hosts at once", "≤ I + R·T in total",
             **both(kill_all, labels=THREE, short={"hosts": 2, "rate": 300, "seconds": 4, "down": 2},
                    full={"hosts": 3, "rate": 2000, "seconds": 20, "down": 60})),
    Scenario(3, "power loss: host killed, journal discarded", "≤ I + R·T",
             **both(power_loss, short={"kills": 2, "rate": 300}, full={"kills": 20, "rate": 2000}),
             not_covered="a disk that loses what it had acknowledged"),
    Scenario(4, "SIGTERM under load", "0, as the server answers within the drain",
             **both(stop_under_load, short={"stops": 3, "rate": 300}, full={"stops": 100, "rate": 2000})),
    Scenario(5, "SIGSTOP, then SIGCONT (zombie)", "fenced at the point of no return: ≤ I, and ≤ R·T of what it had not committed",
             **both(zombie, labels=("a", "b"), short={"rate": 200, "seconds": 14}, full={"rate": 2000, "seconds": 90})),
    Scenario(6, "members join and leave", "≤ mails without an answer for 5 s: none",
             **both(members_come_and_go, labels=THREE, short={"rounds": 1, "rate": 200, "pause": 1},
                    full={"rounds": 25, "rate": 2000, "pause": 5})),
    Scenario(7, "Kafka is down, then back", "sending pauses (commit lease, 10 s), the API acknowledges nothing, all resumes alone; 0",
             **both(kafka_down, own_kafka=True, short={"rate": 100, "seconds": 15}, full={"rate": 2000, "seconds": 300})),
    Scenario(8, "leaders and coordinators move", "0",
             **both(brokers_move, kafka=3, own_kafka=True, labels=("a", "b"), short={"rounds": 1, "rate": 100, "down": 3},
                    full={"rounds": 40, "rate": 2000, "down": 3})),
    Scenario(9, "offset commits are refused, too large, unanswered", "0; an alarm; no more than 1000 a partition uncommitted",
             **both(by_gtest("queue_kafka_unit_test", "MockClusterTest.ACommitThatFailsIsMadeAgain",
                             "MockClusterTest.AMapThatKafkaRefusesIsLeftOutWithAnAlarm", "MockClusterTest.ThePermitLapsesWhile*"), kafka=0),
             not_covered="a real broker gives none of these errors on request: librdkafka's mock cluster does"),
    Scenario(10, "fatal error of the producer amid copies", "each copy is acknowledged or written again",
             **both(by_gtest("queue_kafka_test", "RecordProducerTest.AFatalErrorLosesNothingAndAnswersEachOnce",
                             "RecordProducerTest.OnAgainTheSameRecordIsWrittenOnceMore")),
             not_covered="the error is injected (librdkafka's test call); no program reaches it from outside"),
    Scenario(11, "crash between a copy's acknowledgement and the commit", "≤ copies of a commit interval, with the same Message-ID",
             **both(crash_between_copy_and_commit, short={"kills": 2, "rate": 200}, full={"kills": 20, "rate": 1000})),
    Scenario(12, "the reply after the dot is lost for 1 %", "exactly those, one more copy each; `in_doubt: dead_letter`: none",
             short=(Form(reply_lost, {"mails": 2000, "rate": 600}), Form(reply_lost_at_most_once, {"mails": 1000, "rate": 600}, kafka=0)),
             full=(Form(reply_lost, {"mails": 50_000, "rate": 2000}), Form(reply_lost, {"mails": 50_000, "rate": 2000}, 0),
                   Form(reply_lost_at_most_once, {"mails": 50_000, "rate": 2000}))),
    Scenario(13, "the server hangs after the dot", "IN_DOUBT at the timeout, one more copy each; the other route is as fast as before",
             **both(hangs_after_the_dot, kafka=0, labels=("a", "ill"),
                    short={"connections": 50, "rate": 200, "seconds": 3, "judge_latency": False},
                    full={"connections": 200, "rate": 2000, "seconds": 30, "judge_latency": True}),
             not_covered="the timeout of 10 min is set to 6 s"),
    Scenario(14, "421, RST, FIN in each phase before the dot", "0",
             **both(broken_before_the_dot, short={"mails": 1000, "rate": 300}, full={"mails": 100_000, "rate": 2000})),
    Scenario(15, "all servers answer 4xx, then are fine", "0; no attempt early; each within its back-off",
             **both(all_refuse, short={"mails": 500, "rate": 300, "seconds": 8, "backoff": 2},
                    full={"mails": 100_000, "rate": 2000, "seconds": 1800, "backoff": 120})),
    Scenario(16, "poison records", "0; exactly these are dead letters, no crash",
             **both(poison_among_mails, short={"mails": 1000, "poison": 20, "rate": 300},
                    full={"mails": 100_000, "poison": 100, "rate": 2000})),
    Scenario(17, "plugins swapped, broken ones offered, the file overwritten", "0; the former goes on",
             **both(by_script("reload_test.py", "WhileMailsFlow", "PluginFile"), kafka=0)),
    Scenario(18, "a plugin wedges, completes twice, crashes", "twice: counted, ignored; wedged: in doubt only past the point; crash: ≤ I",
             short=(Form(plugin_misbehaves, {"mails": 100}, 0),
                    Form(by_gtest("host_test", "WorkerTest.NamesA*"), kafka=0)),
             full=(Form(plugin_misbehaves, {"mails": 1000}, 0),
                   Form(by_gtest("host_test", "WorkerTest.NamesA*"), kafka=0),
                   Form(by_script("journal_test.py", "Poison"), kafka=0)),
             not_covered="plugins in a process of their own: there is no such mode, a crash is the host's "
                         "(`e2e_journal_sqlite`, class Poison)"),
    Scenario(19, "disk full", "nothing new is accepted, not ready, resumes by itself; 0",
             **both(disk_full, kafka=0, short={"mails": 800, "rate": 200}, full={"mails": 20_000, "rate": 1000}),
             not_covered="a full disk of the brokers; that of the log, which is whoever's stderr is"),
    Scenario(20, "clock stepped, retention shorter than the backlog, offset out of range",
             "none early; refused or stopped with an alarm, never skipped",
             short=(Form(clock_steps, {"mails": 200, "seconds": 9}, 0), Form(clock_steps, {"mails": 200, "seconds": 9}),
                    Form(by_gtest("queue_kafka_test", "KafkaQueueTest.AnOffsetThatRetentionPassedIsNeverSkippedSilently",
                                  "KafkaQueueTest.WithoutACommitOnATopicUsedBeforeItAsksWhereToBegin"))),
             full=(Form(clock_steps, {"mails": 5000, "seconds": 60}, 0), Form(clock_steps, {"mails": 5000, "seconds": 60}),
                   Form(by_gtest("queue_kafka_test", "KafkaQueueTest.AnOffsetThatRetentionPassedIsNeverSkippedSilently",
                                 "KafkaQueueTest.WithoutACommitOnATopicUsedBeforeItAsksWhereToBegin")))),
]  # fmt: skip
