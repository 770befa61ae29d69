"""What the end-to-end tests share: a directory, a configuration and a running postbus a test, and Kafka."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import uuid

from postbus_process import Client, Postbus, SmtpSink, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ["POSTBUS_BUILD_DIR"])
POSTBUS = BUILD / "bin" / "postbus"

# Every recipient and every secret of the tests has one of these in it: what is searched for in all logs.
DOMAIN = "planted-domain.example"
SECRET = "planted-secret"

FROM = "Usual Store <noreply@usualstore.com>"

# Starts slowly where it is compiled with sanitizers or the machine is busy.
PATIENCE_SECONDS = 90

EXIT_SKIPPED = 77  # what ctest knows as "skipped" (postbus_add_script_test)


class TestCase(unittest.TestCase):
    """Gives each test a directory of its own; what was logged in it is searched for addresses and secrets afterwards."""

    longMessage = True

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="postbus-e2e-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.log = self.directory / "postbus.log"
        self.addCleanup(self.check_logs)
        shutil.copytree(ROOT / "templates", self.directory / "templates")
        self.add_template("notice", subject="A notice", text="Nothing to fill in.\n", html="<p>Nothing to fill in.</p>\n")

    def add_template(self, name: str, **files: str) -> None:
        folder = self.directory / "templates" / name
        folder.mkdir()
        for part, text in files.items():
            (folder / f"{part}.tpl").write_text(text)

    def write_config(self, queue: str, transport: str | None = None, name: str = "postbus.yaml", **top: str) -> pathlib.Path:
        """A configuration in YAML's JSON form: `queue` is what queue_sqlite() or queue_kafka() gives."""
        sections = {
            "version": "1",
            "queue": queue,
            "state_dir": "state",
            "defaults": f'{{ from: "{FROM}" }}',
            "renderer": "{ plugin: ctemplate, options: { directory: templates } }",
            "transports": f"{{ primary: {transport or self.smtp()} }}",
            **top,
        }
        file = self.directory / name
        file.write_text("".join(f"{key}: {value}\n" for key, value in sections.items()))
        return file

    @staticmethod
    def smtp(**options) -> str:
        options = {"host": "127.0.0.1", "port": "${SMTP_PORT}", "tls": "none", **options}
        return "{ plugin: smtp, options: { " + ", ".join(f'{k}: "{v}"' for k, v in options.items()) + " } }"

    @staticmethod
    def queue_sqlite() -> str:
        return "{ type: sqlite, sqlite: { path: postbus.db } }"

    def postbus(self, config, **arguments) -> Postbus:
        """Killed at the end of the test if it still runs."""
        log = arguments.pop("log", self.log)
        postbus = Postbus(BUILD, config, log=log, **arguments)
        self.addCleanup(postbus.kill)
        return postbus

    def run_postbus(self, *arguments, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(POSTBUS), *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_SECONDS, **options
        )

    @staticmethod
    def environment(server) -> dict:
        return {**os.environ, **server.environment}

    def sink(self) -> SmtpSink:
        if not SmtpSink.program():
            raise unittest.SkipTest("smtp-sink is not there; it comes with Debian's package postfix")
        return self.enterContext(SmtpSink(self.directory / "sink"))

    def check_logs(self) -> None:
        """No address and no secret in any log of the test."""
        for log in self.directory.glob("*.log"):
            for line in log.read_text(errors="replace").splitlines():
                for word in (DOMAIN, SECRET):
                    self.assertNotIn(word, line, f"in {log.name}")
                self.assertIsNone(re.search(r"[A-Za-z0-9._%+-]@[A-Za-z0-9-]+\.", line), f"an address in {log.name}: {line}")

    # --- ids ---

    def assert_each_once(self, got: list[str], expected: set[str]) -> None:
        self.assertEqual(expected - set(got), set(), "mails lost")
        self.assertEqual(set(got) - expected, set(), "mails nobody asked for")
        self.assertEqual(duplicates(got), [], "mails sent twice")

    def assert_each(self, got: list[str], expected: set[str], what: str) -> None:
        """At least once. A second copy may come of what was under way or not committed yet when the host was killed."""
        self.assertEqual(expected - set(got), set(), "mails lost")
        self.assertEqual(set(got) - expected, set(), "mails nobody asked for")
        twice = duplicates(got)
        print(f"{what}: {len(expected)} mails, {len(twice)} of them came again", flush=True)
        self.assertLess(len(twice), 1000)


def duplicates(ids: list[str]) -> list[str]:
    seen = set()
    return [id for id in ids if id in seen or seen.add(id)]


def free_port() -> int:
    """Of loopback; somebody may take it before you do."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def new_id() -> str:
    return str(uuid.uuid4())


def seed_event(id: str) -> dict:
    """As in the seed's documentation."""
    return {
        "type": "password_reset",
        "message": {
            "id": id,
            "from": "noreply@usualstore.com",
            "to": f"user-{id[:8]}@{DOMAIN}",
            "subject": "Password Reset Request",
            "template": "password-reset",
            "data": {"Link": f"https://usualstore.com/reset?token={SECRET}"},
            "priority": "high",
            "timestamp": "2025-12-25T20:00:00Z",
            "retry_count": 0,
            "max_retries": 3,
            "status": "pending",
        },
    }


def go_event(id: str) -> dict:
    """What Go's encoding/json makes of the seed's structs when only To and Template are set, and ID unless it is ""."""
    return {
        "type": "",
        "message": {
            "id": id,
            "from": "",
            "to": f"user-{id[:8]}@{DOMAIN}",
            "subject": "",
            "template": "notice",
            "data": None,
            "priority": "",
            "timestamp": "0001-01-01T00:00:00Z",
            "retry_count": 0,
            "max_retries": 0,
            "status": "",
        },
    }


def post_all(url: str, mails: list[dict], accepted: list[str], connections: int = 8) -> None:
    """Posts them over several kept connections; `accepted` gets the ids of each 202. Stops where the server is gone."""
    lock = threading.Lock()
    waiting = iter(mails)

    def work():
        try:
            with Client(url) as client:
                while True:
                    with lock:
                        mail = next(waiting, None)
                    if mail is None:
                        return
                    answer = client.post(mail)
                    if answer.status == 202:
                        accepted.append(answer.json["id"])
        except OSError:  # killed: what was not answered is not accepted
            return
        except Exception as error:  # noqa: BLE001  http.client's, likewise
            if type(error).__module__ != "http.client":
                raise

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class When(threading.Thread):
    """Runs `action` once, as soon as `condition()` is true."""

    def __init__(self, condition, action):
        super().__init__(daemon=True)
        self._condition = condition
        self._action = action
        self.start()

    def run(self):
        wait_until(self._condition, PATIENCE_SECONDS, "what an action waits for")
        self._action()


class Kafka:
    """The broker all tests share, or another one, with topics of one's own."""

    def __init__(self, bootstrap: str | None = None):
        state = pathlib.Path(os.environ["POSTBUS_KAFKA_STATE"])
        if not bootstrap and not state.exists():
            raise unittest.SkipTest("Kafka does not run; see the test kafka_start")
        if not shutil.which("kcat"):
            raise unittest.SkipTest("kcat is not there; it is a Debian package of that name")
        self.bootstrap = bootstrap or json.loads(state.read_text())["bootstrap"]
        self.prefix = f"e2e-{uuid.uuid4().hex[:8]}"
        self.topic = f"{self.prefix}-queue"

    def queue(self) -> str:
        return (
            f'{{ type: kafka, kafka: {{ brokers: "{self.bootstrap}", topic: "{self.topic}", '
            f'group_id: "{self.prefix}" }} }}'
        )

    def produce(self, events: list[dict], topic: str | None = None, partition: int = -1) -> None:
        lines = "".join(f"{event['message']['id']}\t{json.dumps(event)}\n" for event in events)
        self._kcat("-P", "-t", topic or self.topic, "-p", str(partition), "-K", "\t", input=lines.encode())

    def produce_files(self, files: list[pathlib.Path], partition: int, topic: str | None = None) -> None:
        """One record a file, in this order, without keys."""
        self._kcat("-P", "-t", topic or self.topic, "-p", str(partition), "-X", "message.max.bytes=2000000", *map(str, files))

    def produce_empty(self, topic: str, partition: int) -> None:
        """A record with a key and a value of no bytes."""
        self._kcat("-P", "-t", topic, "-p", str(partition), "-K", "\t", input=b"key\t\n")

    def end_offset(self, topic: str, partition: int) -> int:
        """Where the next record goes."""
        # "email-queue [7] offset 42"
        return int(self._kcat("-Q", "-t", f"{topic}:{partition}:-1").decode().split()[-1])

    def dead_letters(self) -> list[dict]:
        """The headers of each dead letter."""
        output = self._kcat("-C", "-t", f"{self.prefix}-dlq", "-o", "beginning", "-e", "-q", "-f", "%h\\n").decode()
        return [dict(re.findall(r"(?:^|,)([\w.-]+)=([^,]*)", line)) for line in output.splitlines()]

    def _kcat(self, *arguments: str, input: bytes = b"") -> bytes:
        done = subprocess.run(
            ["kcat", "-b", self.bootstrap, *arguments], input=input, capture_output=True, timeout=PATIENCE_SECONDS
        )
        if done.returncode != 0:
            raise AssertionError(f"kcat {' '.join(arguments[:6])}: {done.stderr.decode()}")
        return done.stdout


class OnSqlite:
    """Mixed into a TestCase: its events are in a SQLite file."""

    def queue(self) -> str:
        return self.queue_sqlite()


class OnKafka:
    """Mixed into a TestCase: its events are in a real Kafka."""

    def setUp(self):
        self.kafka = Kafka()
        super().setUp()

    def queue(self) -> str:
        return self.kafka.queue()


class LogsOfWhatFailed(unittest.TextTestResult):
    """Shows how each log of a test ends that failed; afterwards its directory is gone."""

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._show_logs(test)

    def addError(self, test, err):
        super().addError(test, err)
        self._show_logs(test)

    def _show_logs(self, test) -> None:
        for log in sorted(getattr(test, "directory", pathlib.Path("/nonexistent")).glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            self.stream.writeln("\n".join([f"\n--- the last of {len(lines)} lines of {log.name}", *lines[-40:]]))


def main() -> None:
    """Of each test script. Skipped tests are named with their reason; all skipped is "skipped" for ctest, too."""
    program = unittest.main(module="__main__", exit=False, testRunner=unittest.TextTestRunner(resultclass=LogsOfWhatFailed))
    for test, reason in program.result.skipped:
        print(f"SKIPPED: {test.id().removeprefix('__main__.')}: {reason}")
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(EXIT_SKIPPED if len(program.result.skipped) == program.result.testsRun else 0)
