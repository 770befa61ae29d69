#!/usr/bin/env python3
"""A Kafka group of two builds of postbus, under load and killed at random: nothing is lost, and nearly nothing comes twice.

usage: mixed_group.py BUILD OTHER_BUILD [--minutes M] [--rate MAILS_A_SECOND] [--seed N]

A build is a directory with bin/postbus and plugins/, as `cmake --build` leaves it. An API and hosts of each work on one
real Kafka; every few seconds a host is killed (kill -9) or stopped, and goes on, half the times as the other build on the
same state_dir: an upgrade or a downgrade. A fifth of the mails is deferred by the server at first, so that copies of one
build are read by the other. Judged by id, from what the server answered. Exit 0: as it should be.

Not a part of ./check: docs/upgrading.md says when to run it.
"""

import argparse
import collections
import contextlib
import json
import pathlib
import random
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "support" / "kafka")]

from kafka_broker import KafkaBroker  # noqa: E402
from postbus_process import Client, Postbus, ProcessError, wait_until  # noqa: E402
from recording_smtp_server import RecordingSmtpServer  # noqa: E402

HOSTS = 3
CONNECTIONS = 8  # of each host
PAUSE_SECONDS = (4, 10)  # between two blows
DRAIN_SECONDS = 300
EXIT_UNAVAILABLE = 69
START_TRIES = 10
# A mail that goes again after a blow: its answer was on the way, or it was done within a commit interval (50 ms; a second
# on a machine that is busy with all of this).
COMMIT_SECONDS = 1.0

CONFIG = """
version: 1
queue:
  type: kafka
  kafka: {{ brokers: "{brokers}", topic: mixed-queue, group_id: mixed }}
state_dir: state
defaults: {{ from: "Usual Store <noreply@usualstore.com>" }}
renderer: {{ plugin: ctemplate, options: {{ directory: templates }} }}
transports:
  primary:
    plugin: smtp
    options: {{ host: 127.0.0.1, port: {port}, tls: none, max_connections: {connections} }}
routes: [{{ use: [primary] }}]
retry: {{ backoff: [5s], max_retries: 20 }}
"""


class Server(RecordingSmtpServer):
    """Defers what is addressed to later-… once; remembers whom it told that a mail is kept."""

    def __init__(self):
        super().__init__()
        self._guard = threading.Lock()
        self._deferred: set[str] = set()
        self.kept: collections.Counter = collections.Counter()

    def reply_to(self, data: bytes) -> bytes:
        id = re.search(rb"(?im)^Message-ID:\s*<([^@>]+)@", data)[1].decode()
        with self._guard:
            if re.search(rb"(?im)^To:.*later-", data) and id not in self._deferred:
                self._deferred.add(id)
                return b"451 4.2.0 later"
            self.kept[id] += 1
        return b"250 2.0.0 kept"

    def _talk(self, read, write, session) -> None:
        with contextlib.suppress(OSError):  # killed
            super()._talk(read, write, session)
        session.commands.clear()
        session.data.clear()

    def seen(self) -> collections.Counter:
        with self._guard:
            return collections.Counter(self.kept)


class Load(threading.Thread):
    """Posts mails at a rate, by turns to each API; what was answered 202 is to come."""

    def __init__(self, apis: list[Postbus], rate: float):
        super().__init__(daemon=True)
        self._apis = apis
        self._rate = rate
        self._ended = threading.Event()
        self.accepted: set[str] = set()
        self.failure: str | None = None

    def run(self):
        try:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(api.api)) for api in self._apis]
                begun = time.monotonic()
                posted = 0
                while not self._ended.wait(max(0.0, begun + posted / self._rate - time.monotonic())):
                    to = f"{'later-' if posted % 5 == 0 else ''}{uuid.uuid4().hex}@mixed.example"
                    mail = {"to": to, "template": "notice", "priority": ("high", "normal", "low")[posted % 3]}
                    answer = clients[posted % len(clients)].post(mail)
                    if answer.status == 202:
                        self.accepted.add(answer.json["id"])
                    posted += 1
        except Exception as error:  # noqa: BLE001  told at the end
            self.failure = repr(error)

    def end(self):
        self._ended.set()
        self.join()


def run(arguments) -> int:
    rng = random.Random(arguments.seed)
    builds = [pathlib.Path(arguments.build), pathlib.Path(arguments.other)]
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postbus-mixed-")))
        server = stack.enter_context(Server())
        kafka = stack.enter_context(KafkaBroker())
        shutil.copytree(ROOT / "templates", directory / "templates")
        (directory / "templates" / "notice").mkdir()
        for part in ("subject", "text"):
            (directory / "templates" / "notice" / f"{part}.tpl").write_text("A notice\n")
        config = directory / "postbus.yaml"
        config.write_text(CONFIG.format(brokers=kafka.bootstrap, port=server.port, connections=CONNECTIONS))

        def start(role: str, number: int, build: pathlib.Path) -> Postbus:
            name = f"{role}-{number}"
            settings = {"state_dir": str(directory / name)}
            postbus = Postbus(build, config, log=directory / f"{name}.log", role=role, settings=settings)
            stack.callback(postbus.kill)
            for tries_left in range(START_TRIES, -1, -1):
                try:
                    postbus.start()
                    break
                except ProcessError:  # as a supervisor does: topics that were just made have no leaders yet
                    if postbus.code != EXIT_UNAVAILABLE or tries_left == 0:
                        raise
                    time.sleep(2)
            return postbus

        apis = [start("api", i, build) for i, build in enumerate(builds)]
        build_of = [i % 2 for i in range(HOSTS)]
        hosts = [start("host", i, builds[build_of[i]]) for i in range(HOSTS)]
        load = Load(apis, arguments.rate)
        load.start()

        blows = collections.Counter()
        deadline = time.monotonic() + arguments.minutes * 60
        while time.monotonic() < deadline:
            time.sleep(rng.uniform(*PAUSE_SECONDS))
            struck = rng.randrange(HOSTS)
            if not hosts[struck].is_running():
                raise ProcessError(f"host {struck} ended by itself:\n{hosts[struck].tail()}")
            if rng.random() < 0.5:
                hosts[struck].kill()
                blows["kill -9"] += 1
            else:
                code = hosts[struck].stop()
                if code != 0:
                    raise ProcessError(f"host {struck} ended with {code}:\n{hosts[struck].tail()}")
                blows["SIGTERM"] += 1
            if rng.random() < 0.5:
                build_of[struck] ^= 1
                blows["changes of the build"] += 1
            hosts[struck] = start("host", struck, builds[build_of[struck]])
        load.end()
        with contextlib.suppress(ProcessError):  # what is missing is told below
            wait_until(lambda: load.accepted <= set(server.seen()), DRAIN_SECONDS, "every mail")
        stopped = sum(host.metric("postbus_queue_stopped_partitions") for host in hosts)
        codes = [each.stop() for each in hosts + apis]

        kept = server.seen()
        lost = load.accepted - set(kept)
        second = sum(count - 1 for count in kept.values())
        bound = int((blows["kill -9"] + blows["SIGTERM"]) * (CONNECTIONS + arguments.rate * COMMIT_SECONDS))
        result = {
            "seed": arguments.seed,
            "minutes": arguments.minutes,
            **blows,
            "accepted": len(load.accepted),
            "lost": len(lost),
            "second copies": second,
            "bound of second copies": bound,
            "stopped partitions": int(stopped),
            "exit codes": codes,
        }
        print(json.dumps(result), flush=True)
        good = not lost and second <= bound and not stopped and not any(codes) and not load.failure and load.accepted
        if not good:
            for name in sorted(directory.glob("*.log")):
                print(f"--- {name.name}\n" + "\n".join(name.read_text(errors="replace").splitlines()[-15:]))
            if load.failure:
                print("the load ended: " + load.failure)
        return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", metavar="BUILD")
    parser.add_argument("other", metavar="OTHER_BUILD")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200, help="mails a second")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
