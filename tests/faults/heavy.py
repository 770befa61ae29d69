"""The heavy runs: what the scenarios do not show, at sizes that take from minutes to hours. Run when they are named."""

import collections
import json
import os
import pathlib
import re
import statistics
import subprocess
import time

import e2e
from postbus_process import wait_until
from rig import Outcome, Rig
from scenarios import (
    THREE, Scenario, add_poison, both, clock_steps, faketime_library, kill_one_of_three, longest_pause, rfc3339,
    times_between_attempts, unix_time,
)  # fmt: skip


def mixture(rig: Rig, mails: int, poison: int, rate: float) -> Outcome:
    """30 % are refused once, 5 % always, 1 % for good, and there are poison records: each ends where it should."""
    backoff = 1
    rig.write_config(retry=f"{{ backoff: [{backoff}s], max_retries: 2 }}")
    rig.make_topics()
    api = rig.start_api()
    rig.start_host("a")
    rig.wait_for_assignment()

    def fault_of(rng) -> str:
        of_all = rng.random()
        phase = rng.choice(("rcpt", "dot"))
        return f"{phase}-451-1" if of_all < 0.30 else f"{phase}-451" if of_all < 0.35 else f"{phase}-550" if of_all < 0.36 else ""

    made = rig.mails(fault_of, limit=mails)
    feeder = rig.feed(api, made, rate)
    poisoned = add_poison(rig, poison)
    acknowledged = feeder.finish()
    outcome = rig.outcome(acknowledged, "", 0, "0", allowed=set(), posted=feeder.posted, seconds=120 + mails / 500)
    expected = {id: "attempts_exhausted" if "451" in fault else "rejected" for id, fault in made.faults.items()
                if fault and not fault.endswith("-1") and id in acknowledged}  # fmt: skip
    for id, why in rig.dead.items():
        if id in poisoned:
            poisoned.remove(id)
        elif not why.startswith(expected.pop(id, "nothing")):
            outcome.problems.append(f"{id} is a dead letter ({why})")
    if expected or poisoned:
        outcome.problems.append(f"{len(expected)} mails and {len(poisoned)} poison records are no dead letters")
    gaps = times_between_attempts(rig)
    if min(gaps, default=0) < backoff:
        outcome.problems.append(f"an attempt after {min(gaps, default=0):.3f} s")
    kinds = collections.Counter(fault.partition("-")[2] for fault in made.faults.values() if fault)
    outcome.faults = f"{kinds['451-1']} × 4xx once, {kinds['451']} × always, {kinds['550']} × 5xx, {poison} poison records"
    again = f"{len(gaps)} attempts again, the first after {min(gaps, default=0):.2f} s"
    outcome.notes = f"{len(rig.dead)} dead letters, exactly those; {again}; {longest_pause(rig)}"
    return outcome


def scheduled(rig: Rig, mails: int, span: float, speed: int, restart_every: float) -> Outcome:
    """Mails due within `span` seconds of a clock that runs `speed` times as fast, for the host alone; which is stopped and
    started, or killed, every `restart_every` of these seconds. Judged by the host's own clock, which its log tells."""
    library = faketime_library()
    if library is None:
        return Outcome.not_run("the package faketime is not there")
    api = rig.start_api()
    begin = time.time()
    due: dict[str, float] = {}

    def make():
        for mail in rig.mails(limit=mails):
            scheduled_at = rfc3339(begin + span / 20 + rig.rng.uniform(0, span))
            due[mail["id"]] = unix_time(scheduled_at)
            yield {**mail, "scheduled_at": scheduled_at}

    feeder = rig.feed(api, make(), 5000)
    acknowledged = feeder.finish()
    fast_since = time.time()

    def start():
        ahead = (time.time() - fast_since) * (speed - 1)
        environment = {"LD_PRELOAD": library, "FAKETIME": f"+{ahead:.2f} x{speed}"}
        return rig.start_host("a", environment=environment)

    host = start()
    restarts = killed = 0
    allowed: set[str] = set()
    while (time.time() - fast_since) * speed < 1.05 * span:
        time.sleep(restart_every / speed)
        restarts += 1
        if restarts % 2:
            host.stop()
        else:
            unknown, recent = rig.kill("a")
            allowed |= unknown
            killed += 1
        host = start()
    outcome = rig.outcome(acknowledged, f"{restarts} restarts, {killed} of them by kill -9", len(allowed), "I", allowed=allowed)
    early = []
    sent = re.compile(r'"ts":"([^"]+)".*"msg":"sent".*"id":"([^"]+)"')
    seen = 0
    for line in (rig.directory / "a.log").read_text().splitlines():
        if (found := sent.search(line)) and found[2] in due:
            seen += 1
            at = unix_time(found[1])
            if at < due[found[2]] - 0.001:
                early.append(due[found[2]] - at)
    if early:
        outcome.problems.append(f"{len(early)} came early, by {max(early):.3f} s at most")
    if seen < len(acknowledged) - len(allowed):
        outcome.problems.append(f"the log tells of {seen} mails only")
    outcome.notes = f"{span:.0f} s in {span / speed:.0f} s; none before its time by the host's clock"
    return outcome


# --- memory and priorities, on Kafka ---


def _load(rig: Rig, topic: str, count: int) -> set[str]:
    """So many mails by kcat, as foreign producers write them, in small batches: a batch is fetched as a whole. Acknowledged when
    kcat ends with 0."""
    ids = set()
    kcat = subprocess.Popen(["kcat", "-P", "-b", rig.kafka.bootstrap, "-t", topic, "-K", "\t", "-X", "linger.ms=5", "-X", "batch.num.messages=20",
                             "-X", "acks=all"],
                            stdin=subprocess.PIPE, text=True)  # fmt: skip
    for mail in rig.mails(limit=count):
        ids.add(mail["id"])
        kcat.stdin.write(f"{mail['id']}\t{json.dumps({'type': 'load', 'message': mail})}\n")
    kcat.stdin.close()
    if kcat.wait() != 0:
        raise RuntimeError("kcat could not write the mails")
    return ids


def _rss_mib(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def _cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(rig: Rig, waiting: int, rate: int, seconds: float, limit_mib: float, judge: bool) -> Outcome:
    """The same rate as mails come, with some waiting, and with very many: resident memory and CPU a mail beside each other. 4
    partitions for each of the three priorities are 12 assigned ones."""
    limited = rig.smtp()[:-1] + f", rate_limit: {{ per_second: {rate} }} }}"
    rig.write_config(transports=f"{{ primary: {limited} }}")
    rig.make_topics(partitions=4)
    host = rig.start_host("a")
    wait_until(lambda: host.metric("postbus_queue_assigned_partitions") == 12, 60, "12 partitions")

    def measure() -> tuple[float, float]:
        """Median of the memory, CPU seconds a mail."""
        begin = time.monotonic()
        cpu, done = _cpu_seconds(host.pid), host.metric("postbus_queue_completed_total")
        samples = []
        while time.monotonic() - begin < seconds:
            time.sleep(seconds / 20)
            samples.append(_rss_mib(host.pid))
        mails = host.metric("postbus_queue_completed_total") - done
        return statistics.median(samples), (_cpu_seconds(host.pid) - cpu) / max(mails, 1)

    idle = _rss_mib(host.pid)
    api = rig.start_api()
    feeder = rig.feed(api, rig.mails(), rate, batch=5)  # evenly, as a limited transport takes them
    rig.wait_for_mails(5 * rate)
    none = measure()
    ids = feeder.stop()
    api.stop()
    ids |= _load(rig, rig.kafka.topic, int(rate * seconds * 1.3))
    some = measure()
    ids |= _load(rig, rig.kafka.topic, waiting)
    wait_until(lambda: host.metric("postbus_queue_waiting") > waiting * 0.5, 120, "the mails to wait")
    most = host.metric("postbus_queue_waiting")
    many = measure()
    if host.metric("postbus_queue_waiting") < 1:
        raise RuntimeError("the queue ran empty while it was measured")
    host.kill()
    problems = []
    if judge and many[0] > limit_mib:
        problems.append(f"{many[0]:.0f} MiB, the limit is {limit_mib:.0f}")
    for waiting_mib, waiting_cpu in (some, many):
        if judge and waiting_mib > none[0] * 1.05:
            problems.append(f"memory grew from {none[0]:.1f} to {waiting_mib:.1f} MiB")
        if judge and waiting_cpu > none[1] * 1.05:
            problems.append(f"a mail cost {none[1] * 1e6:.0f}, then {waiting_cpu * 1e6:.0f} µs of CPU")
    sent = rig.sink.update().sent()
    if stray := sent - ids:
        problems.append(f"{len(stray)} mails nobody wrote")
    told = [f"{mib:.1f} MiB and {cpu * 1e6:.0f} µs of CPU a mail" for mib, cpu in (none, some, many)]
    notes = (f"{idle:.0f} MiB idle; {told[0]} as they came; {told[1]} with {rate * seconds * 1.3:.0f} waiting; {told[2]} with "
             f"{most:.0f} waiting; {rate} mails/s")  # fmt: skip
    return Outcome(len(sent), f"{most:.0f} mails waiting", set(), sum(rig.sink.duplicates().values()), 0, "0", problems, notes)


def priorities(rig: Rig, low: int, high: int, rate: float, runs: int, judge: bool) -> Outcome:
    """High mails without a backlog and behind one of low ones, in turns; two deployments, of which one runs at a time."""
    rig.make_topics()
    with_backlog, plain_config = rig.kafka, rig.config
    other = e2e.Kafka(with_backlog.bootstrap)
    backlog = _load(rig, with_backlog.topic + "-low", low)
    p99: dict[bool, list[float]] = {False: [], True: []}
    shares, acknowledged, problems = [], set(), []
    for run in range(2 * runs):
        loaded = bool(run % 2)
        rig.kafka, rig.config = (with_backlog, plain_config) if loaded else (other, rig.directory / "other.yaml")
        rig.write_config()
        if run == 0:
            rig.make_topics()
        api = rig.start_api()
        host = rig.start_host("a", state=f"a-{loaded}")
        rig.wait_for_assignment()
        if loaded:
            rig.wait_for_mails(min(1000, low // 20))
        begin = len(rig.server.read())
        feeder = rig.feed(api, rig.mails(limit=high, priority="high"), rate, batch=1)
        feeder.finish()
        wait_until(lambda: feeder.acknowledged.keys() <= rig.sink.update().first_at.keys(), 120, "the high mails")
        entries = [each for each in rig.server.read()[begin:] if each.what == "kept"]
        delays = sorted(rig.sink.first_at[id] - at for id, at in feeder.acknowledged.items())
        p99[loaded].append(statistics.quantiles(delays, n=100)[98] * 1000)
        if loaded:
            shares.append(sum(each.id in backlog for each in entries) / len(entries))
            if host.metric("postbus_queue_waiting") == 0:
                problems.append("the backlog was used up: it takes a larger one")
        acknowledged |= set(feeder.acknowledged)
        host.stop()
        api.kill()
    without, behind = statistics.median(p99[False]), statistics.median(p99[True])
    if judge and behind > max(2 * without, without + 20):
        problems.append(f"p99 rose from {without:.1f} to {behind:.1f} ms")
    if min(shares) < 0.05:
        problems.append(f"low had {100 * min(shares):.1f} % of the mails")
    lost = acknowledged - rig.sink.update().sent()
    twice = rig.sink.duplicates()
    each_run = "; ".join(f"{a:.1f}/{b:.1f}" for a, b in zip(p99[False], p99[True]))
    notes = (f"p99 without/behind the backlog, ms: {each_run}; medians {without:.1f}/{behind:.1f}; "
             f"low had {100 * min(shares):.0f} % or more")  # fmt: skip
    return Outcome(len(acknowledged), f"{low} low mails waiting", lost, sum(twice.values()), 0, "0", problems, notes)


HEAVY = [
    Scenario("kill-one-of-three", "kill -9 of one of three hosts, again and again",
             "I on the same host, I + R·T on another; no survivor stands for more than 2 s",
             **both(kill_one_of_three, labels=THREE, short={"kills": 4, "rate": 300, "away_every": 2, "judge_stands": False},
                    full={"kills": 50, "rate": 2000, "away_every": 5, "judge_stands": True})),
    Scenario("mixture", "30 % 4xx once, 5 % always, 1 % 5xx, poison records",
             "exactly those are dead letters; no attempt early; no address in a log",
             **both(mixture, short={"mails": 2000, "poison": 20, "rate": 500}, full={"mails": 100_000, "poison": 100, "rate": 2000})),
    Scenario("scheduled", "mails scheduled over an hour, a clock 100 times as fast, a restart a minute", "each once, none early",
             **both(scheduled, kafka=0, short={"mails": 500, "span": 600, "speed": 60, "restart_every": 120},
                    full={"mails": 10_000, "span": 3600, "speed": 100, "restart_every": 60}),
             not_covered="Kafka: its sessions and permits run by the same clock and would end"),
    Scenario("clock-steps", "the wall clock stepped by an hour, forth and back", "none early",
             **both(clock_steps, short={"mails": 200, "seconds": 9}, full={"mails": 10_000, "seconds": 300})),
    Scenario("memory", "12 assigned partitions, very many mails waiting", "≤ 96 MiB, and within 5 % of an empty queue, the cost of a mail, too",
             **both(memory, short={"waiting": 20_000, "rate": 300, "seconds": 6, "limit_mib": 96, "judge": False},
                    full={"waiting": 1_000_000, "rate": 1000, "seconds": 60, "limit_mib": 96, "judge": True})),
    Scenario("priorities", "high mails behind very many low ones", "p99 ≤ 2 × or + 20 ms; low keeps ≥ 5 %",
             **both(priorities, short={"low": 20_000, "high": 200, "rate": 100, "runs": 1, "judge": False},
                    full={"low": 1_000_000, "high": 1000, "rate": 100, "runs": 5, "judge": True})),
]  # fmt: skip
