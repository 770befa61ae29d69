"""What the fault scenarios share: hosts of a real postbus, mails fed at a rate, and a judge that goes by ids.

The ledgers are the judge. *Acknowledged* is what the API answered 202 for, or what kcat was acknowledged. Each of those has to
be at the SMTP server (its ledger: the final dot came, and no refusal followed), among the dead letters, or to have ended in
another way a scenario names; what is nowhere is *lost*. A mail that came n times makes n - 1 *duplicates*.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
import uuid

import e2e
from kafka_broker import KafkaError, create_topic, delete_topics
from ledger_smtp_server import Entry, LedgerServer
from postbus_process import Client, Postbus, ProcessError, get, wait_until

# Of queue/kafka/group_consumer.cc and kafka_config.h, which docs/life-of-an-email.md tells.
COMMIT_SECONDS = 0.05
SESSION_SECONDS = 10
MAX_UNCOMMITTED = 1000  # a partition's
PARTITIONS = 24
PRIORITIES = 3

# What a mail may take until it is where it belongs, beyond what its scenario does to it: the machine may be busy.
PATIENCE_SECONDS = 120


@dataclasses.dataclass
class Outcome:
    """What a scenario saw."""

    mails: int
    faults: str
    lost: set[str]
    duplicates: int
    bound: int
    bound_is: str  # how the bound was counted in this run
    problems: list[str]  # whatever else was not as expected
    notes: str = ""
    skipped: str = ""  # why it was not run

    @staticmethod
    def not_run(why: str) -> "Outcome":
        return Outcome(0, "", set(), 0, 0, "", [], skipped=why)

    @property
    def held(self) -> bool:
        return self.mails > 0 and not self.lost and self.duplicates <= self.bound and not self.problems


class Sink:
    """What the ledger says, by id."""

    def __init__(self, server: LedgerServer):
        self._server = server
        self._read = 0
        self._open: dict[tuple, str] = {}  # complete, the answer is still to come
        self.copies: collections.Counter = collections.Counter()
        self.first_at: dict[str, float] = {}

    def update(self) -> "Sink":
        entries = self._server.read()
        for entry in entries[self._read :]:
            if entry.what == "dot" or entry.what == "lost" or (entry.what == "kept" and entry.code < 400):
                self.copies[entry.id] += 1
                self.first_at.setdefault(entry.id, entry.time)
            elif entry.what == "reply" and entry.code >= 400:
                self.copies[entry.id] -= 1
        self._read = len(entries)
        return self

    @property
    def entries(self) -> list[Entry]:
        return self._server.read()

    def sent(self) -> set[str]:
        return {id for id, copies in self.copies.items() if copies > 0}

    def duplicates(self) -> dict[str, int]:
        return {id: copies - 1 for id, copies in self.copies.items() if copies > 1}


class Feeder(threading.Thread):
    """Posts mails to the API in batches at a rate until stop(), or until there are no more."""

    def __init__(self, url: str, mails, rate: float, batch: int, timeout: float = 150):
        super().__init__(daemon=True)
        self._url, self._mails, self._rate, self._batch, self._timeout = url, iter(mails), rate, batch, timeout
        self._stopping = threading.Event()
        self.acknowledged: dict[str, float] = {}  # id -> when the 202 came
        self.posted: set[str] = set()
        self.refusals: collections.Counter = collections.Counter()  # status -> answers
        self.begun = self.ended = 0.0
        self._answers: collections.deque = collections.deque(maxlen=50)  # how long the last ones took, in seconds
        self.start()

    def run(self) -> None:
        self.begun = time.monotonic()
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(Client(self._url, self._timeout))
            while not self._stopping.is_set():
                batch = list(itertools.islice(self._mails, self._batch))
                if not batch:
                    break
                self.posted.update(mail["id"] for mail in batch)
                due = self.begun + len(self.posted) / self._rate
                asked = time.monotonic()
                try:
                    answer = client.post(batch, "/v1/emails/batch")
                    self._answers.append(time.monotonic() - asked)
                    if answer.status == 202:
                        now = time.time()
                        self.acknowledged.update((each["id"], now) for each in answer.json["data"])
                    else:
                        self.refusals[answer.status] += 1
                except Exception as error:  # noqa: BLE001  whatever http.client says of a connection that ended
                    self.refusals[type(error).__name__] += 1
                    client = stack.enter_context(Client(self._url, self._timeout))
                self._stopping.wait(max(0, due - time.monotonic()))
        self.ended = time.monotonic()

    def stop(self) -> set[str]:
        self._stopping.set()
        return self.finish()

    def finish(self) -> set[str]:
        self.join()
        return set(self.acknowledged)

    def round_trip(self) -> float:
        """What writing to the queue takes at most at present, in seconds."""
        return max(self._answers.copy(), default=0)

    def rate(self) -> float:
        return len(self.acknowledged) / max(self.ended - self.begun, 0.001)


class Mails:
    """Mails without end, the same ones for the same seed. `fault_of(random)` gives the local part's faults, "" for none."""

    def __init__(self, rng: random.Random, fault_of=lambda _: "", limit: int | None = None, **fields):
        self._rng, self._fault_of, self._fields, self._limit = rng, fault_of, fields, limit
        self.faults: dict[str, str] = {}  # id -> its fault, in the order they were made

    def __iter__(self):
        return self

    def __next__(self) -> dict:
        if self._limit is not None and len(self.faults) >= self._limit:
            raise StopIteration
        id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        fault = self._fault_of(self._rng)
        self.faults[id] = fault
        return {"id": id, "to": f"{fault or 'ok'}+{id[:13]}@{e2e.DOMAIN}", "template": "notice", **self._fields}


class Rig:
    """One scenario's directory, ledger, queue and processes; all gone with it. `bootstrap`: a Kafka, or None for SQLite."""

    def __init__(self, name: str, seed: int, bootstrap: str | None, labels=("a",)):
        self.name = name
        self.seed = seed
        self.rng = random.Random(seed)
        self._bootstrap = bootstrap
        self._kinds_of_mails = 0
        self._made: list[str] = []  # topics
        self.on_kafka = bootstrap is not None
        self.broker = None  # the scenario's own KafkaBroker, to be hurt
        self._labels = list(labels)
        self._stack = contextlib.ExitStack()
        self.dead: dict[str, str] = {}  # id -> outcome, of the dead letters
        self.hosts: dict[str, Postbus] = {}

    def __enter__(self) -> "Rig":
        self.directory = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="postbus-faults-")))
        shutil.copytree(e2e.ROOT / "templates", self.directory / "templates")
        notice = self.directory / "templates" / "notice"
        notice.mkdir()
        for part, text in (("subject", "A notice"), ("text", "Nothing to fill in.\n"), ("html", "<p>Nothing.</p>\n")):
            (notice / f"{part}.tpl").write_text(text)
        self.server = self._stack.enter_context(LedgerServer(self.directory / "ledger", self._labels))
        self.sink = Sink(self.server)
        self.config = self.directory / "postbus.yaml"
        if self._bootstrap:
            self.kafka = e2e.Kafka(self._bootstrap)
        self.write_config()
        return self

    def __exit__(self, *_) -> None:
        for host in self.hosts.values():
            host.kill()
        self._stack.close()
        if self._made and self.broker is None:
            with contextlib.suppress(OSError, KafkaError):  # the next one does with a slower broker
                delete_topics(self._bootstrap, self._made)

    # --- processes ---

    def queue(self) -> str:
        return self.kafka.queue() if self._bootstrap else "{ type: sqlite, sqlite: { path: postbus.db } }"

    def smtp(self, **options) -> str:
        options = {"host": "127.0.0.1", "port": "${SMTP_PORT:-2525}", "tls": "none", "max_connections": 16, **options}
        return "{ plugin: smtp, options: { " + ", ".join(f'{k}: "{v}"' for k, v in options.items()) + " } }"

    def write_config(self, **top: str) -> None:
        sections = {
            "version": "1",
            "queue": self.queue(),
            "state_dir": "state",
            "defaults": f'{{ from: "{e2e.FROM}" }}',
            "renderer": "{ plugin: ctemplate, options: { directory: templates } }",
            "transports": f"{{ primary: {self.smtp()} }}",
            "retry": "{ backoff: [1s], max_retries: 5 }",
            **top,
        }
        self.config.write_text("".join(f"{key}: {value}\n" for key, value in sections.items()))

    def make_topics(self, partitions: int | None = None) -> None:
        """As `postbus topics create` makes them, or with so many partitions."""
        listed = json.loads(self.postbus("topics", "check", "--output", "json").stdout)
        self._made += [topic["topic"] for topic in listed]
        if partitions is not None:
            for topic in listed:
                create_topic(self._bootstrap, topic["topic"], partitions)
            return
        done = self.postbus("topics", "create")
        if done.returncode != 0:
            raise ProcessError(f"topics create: {done.stderr}")

    def postbus(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [str(e2e.POSTBUS), arguments[0], *([arguments[1]] if arguments[0] in ("dlq", "topics") else []), "-c", str(self.config)]
        rest = arguments[2:] if arguments[0] in ("dlq", "topics") else arguments[1:]
        return subprocess.run([*command, *map(str, rest)], capture_output=True, text=True, timeout=PATIENCE_SECONDS)

    def start_host(self, label: str, state: str | None = None, role: str = "host", **arguments) -> Postbus:
        """Its mails go to the port of that label. A state directory of its own, so that it is a machine of its own."""
        settings = {"state_dir": str(self.directory / f"state-{state or label}"), **arguments.pop("settings", {})}
        environment = {**self.server.environment(label), **arguments.pop("environment", {})}
        host = Postbus(e2e.BUILD, self.config, log=self.directory / f"{label}.log", role=role, settings=settings,
                       environment=environment, **arguments)  # fmt: skip
        self.hosts[label] = host
        host.start()
        return host

    def start_api(self, **arguments) -> Postbus:
        api = Postbus(e2e.BUILD, self.config, log=self.directory / "api.log", role="api",
                      settings={"state_dir": str(self.directory / "state-api")}, **arguments)  # fmt: skip
        self._stack.callback(api.kill)
        api.start()
        return api

    def wait_for_assignment(self, members: int | None = None) -> None:
        """Until all partitions are owned, by so many hosts."""
        if not self._bootstrap:
            return

        def assigned():
            owned = [host.metric("postbus_queue_assigned_partitions") for host in self.hosts.values() if host.is_running()]
            return sum(owned) == PARTITIONS * PRIORITIES and sum(n > 0 for n in owned) == (members or len(owned))

        wait_until(assigned, PATIENCE_SECONDS, "all partitions to be assigned")

    # --- mails ---

    def mails(self, *arguments, **fields) -> "Mails":
        """By the scenario's seed, each call others; apart from `rng`, since a Feeder makes them in a thread of its own."""
        self._kinds_of_mails += 1
        return Mails(random.Random(f"{self.seed}/{self._kinds_of_mails}"), *arguments, **fields)

    def feed(self, api: Postbus, mails, rate: float, batch: int | None = None) -> Feeder:
        return Feeder(api.api, mails, rate, batch or max(1, min(500, int(rate / 20))))

    def wait_for_mails(self, count: int, label: str | None = None, seconds: float = PATIENCE_SECONDS) -> None:
        """Until so many more have come."""
        begin = len(self.server.read())

        def came():
            return sum(each.what in ("kept", "dot") and label in (None, each.label) for each in self.server.read()[begin:]) >= count

        wait_until(came, seconds, lambda: f"{count} more mails at {label or 'the server'}; {self.tails()}")

    # --- faults ---

    def kill(self, label: str, commit_seconds: float = COMMIT_SECONDS) -> tuple[set[str], set[str]]:
        """kill -9. Returns the mails past their final dot whose answer the host may not have known, and those it had for
        less than `commit_seconds`."""
        self.server.do("unknown", label)
        begin = len(self.server.read())
        self.hosts[label].kill()
        killed_at = time.time()
        wait_until(lambda: self.server.do("unknown", label)["connections"] == 0, 30, "the killed host's connections to end")
        entries = self.server.read()
        unknown = {each.id for each in entries[begin:] if each.label == label and each.what == "gone" and each.id != "-"}
        return unknown, self.kept_since(label, killed_at - commit_seconds) - unknown

    def kept_since(self, label: str, since: float) -> set[str]:
        kept = set()
        for entry in reversed(self.server.read()):
            if entry.time < since:
                return kept
            if entry.label == label and entry.what in ("kept", "reply", "dot"):
                kept.add(entry.id)
        return kept

    def most_within(self, seconds: float, span: float = 10) -> int:
        """The most answers the server gave in so long a time, within the last `span` seconds."""
        since = time.time() - span
        times = collections.deque()
        most = 0
        for entry in self.server.read():
            if entry.time < since or entry.what not in ("kept", "reply", "dot"):
                continue
            times.append(entry.time)
            while times[0] < entry.time - seconds:
                times.popleft()
            most = max(most, len(times))
        return most

    # --- judging ---

    def read_dead_letters(self) -> dict[str, str]:
        done = self.postbus("dlq", "list", "--output", "json")
        if done.returncode != 0:
            raise ProcessError(f"dlq list: {done.stderr}")
        self.dead = {letter["id"]: letter["outcome"] for letter in json.loads(done.stdout)}
        return self.dead

    def settle(self, acknowledged: set[str], seconds: float = PATIENCE_SECONDS, also=frozenset()) -> set[str]:
        """Waits until each is accounted for and the hosts have nothing left; returns what is nowhere. `also`: ids that
        have ended in a way of their own."""
        deadline = time.monotonic() + seconds
        while True:
            missing = acknowledged - self.sink.update().sent() - also
            if missing:
                missing -= self.read_dead_letters().keys()
            if not missing and self.idle():
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)
        self.read_dead_letters()
        return missing

    def idle(self) -> bool:
        """No host has a mail, none waits. Twice, since the numbers are refreshed twice a second."""
        names = ("postbus_queue_waiting", "postbus_queue_delayed", "postbus_email_inflight")
        for _ in range(2):
            for host in self.hosts.values():
                if host.is_running() and any(host.metric(name) > 0 for name in names):
                    return False
            time.sleep(0.6)
        return True

    def stop_all(self, problems: list[str]) -> None:
        """SIGTERM; each must end with 0. Then their logs must name no address."""
        for label, host in self.hosts.items():
            if host.is_running() and (code := host.stop()) != 0:
                problems.append(f"host {label} ended with {code}")
        for log in self.directory.glob("*.log"):
            with open(log, errors="replace") as lines:
                if any(e2e.DOMAIN in line for line in lines):
                    problems.append(f"an address in {log.name}")

    def tails(self, lines: int = 6) -> str:
        return "\n".join(f"--- {label}\n{host.tail(lines)}" for label, host in self.hosts.items())

    def outcome(self, acknowledged: set[str], faults: str, bound: int, bound_is: str, *, allowed: set[str] | None = None,
                problems: list[str] | None = None, notes: str = "", also=frozenset(), seconds: float = PATIENCE_SECONDS,
                posted: set[str] | None = None) -> Outcome:  # fmt: skip
        """Settles, stops, counts. `allowed`: only these ids may have come twice. `posted`: nothing else may have come."""
        problems = [] if problems is None else problems
        lost = self.settle(acknowledged, seconds, also)
        if not self.idle():
            problems.append("mails are left: " + self.tails(3))
        self.stop_all(problems)
        self.sink.update()
        twice = self.sink.duplicates()
        if allowed is not None and (beyond := twice.keys() - allowed):
            problems.append(f"{len(beyond)} came twice that had no reason to, such as {sorted(beyond)[0]}")
        if posted is not None and (stray := self.sink.sent() - posted):
            problems.append(f"{len(stray)} mails nobody posted, such as {sorted(stray)[0]}")
        return Outcome(len(acknowledged), faults, lost, sum(twice.values()), bound, bound_is, problems, notes)


def metric_of(host: Postbus, name: str, **labels: str) -> float:
    """The sum over the series of a metric that have these labels."""
    total = 0.0
    for line in get(host.admin, "/metrics").body.decode().splitlines():
        if line.startswith(name) and line[len(name)] in "{ " and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.split()[-1])
    return total


def gtest(program: str, pattern: str) -> tuple[bool, int, str]:
    """Runs tests of one of our C++ test programs: whether all passed, how many ran, and the end of what they said."""
    found = [each for each in (e2e.BUILD / "tests").rglob(program) if each.is_file() and os.access(each, os.X_OK)]
    if not found:
        return False, 0, f"{program} is not built"
    done = subprocess.run([str(found[0]), f"--gtest_filter={pattern}"], capture_output=True, text=True, timeout=600)
    ran = done.stdout.count("[       OK ]")
    skipped = done.stdout.count("[  SKIPPED ]") > 0
    return done.returncode == 0 and ran > 0 and not skipped, ran, "\n".join(done.stdout.splitlines()[-15:])
