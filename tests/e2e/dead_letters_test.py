"""Mails a server rejects are dead letters: `postbus dlq` lists and shows them, replays each once, and discards them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time

import e2e
from postbus_process import get, post, wait_until
from recording_smtp_server import RecordingSmtpServer

NOTICE = {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}
OTHER = {"to": f"ada@{e2e.DOMAIN}", "template": "other"}
EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 64, 69, 78


class RejectingSmtpServer(RecordingSmtpServer):
    """Rejects every mail while `rejects`; knows the ids of the others."""

    def __init__(self):
        super().__init__()
        self.rejects = True
        self.accepted: list[str] = []

    def reply_to(self, data: bytes) -> bytes:
        if self.rejects:
            return b"554 5.7.1 not today"
        self.accepted.append(re.search(rb"^Message-ID:\s*<([^@>]+)@", data, re.MULTILINE | re.IGNORECASE)[1].decode())
        return super().reply_to(data)


class DeadLetters(e2e.TestCase):
    def start(self):
        self.add_template("other", subject="Another", text="Nothing.\n")
        self.server = self.enterContext(RejectingSmtpServer())
        self.config = self.write_config(self.queue())
        self.environ = self.environment(self.server)
        self.host = self.postbus(self.config, environment=self.server.environment)
        self.host.start()

    def post(self, mail: dict) -> str:
        answer = post(self.host.api, mail)
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json["id"]

    def dlq(self, *arguments: str, expected: int = 0) -> str:
        done = self.run_postbus("dlq", arguments[0], "-c", self.config, *arguments[1:], env=self.environ)
        self.assertEqual(done.returncode, expected, done.stderr)
        return done.stdout if expected == 0 else done.stderr

    def list(self, *filters: str) -> list[dict]:
        return json.loads(self.dlq("list", "--output", "json", *filters))

    def ids(self, *filters: str) -> set[str]:
        return {letter["id"] for letter in self.list(*filters)}

    def wait_for_letters(self, expected: set[str]) -> None:
        wait_until(lambda: len(self.ids()) >= len(expected), e2e.PATIENCE_SECONDS, "the dead letters")
        self.assertEqual(self.ids(), expected)

    def wait_for_status(self, ids: set[str], expected: str) -> None:
        for id in ids:
            wait_until(lambda id=id: get(self.host.api, f"/v1/emails/{id}").json["status"] == expected,
                       e2e.PATIENCE_SECONDS, f"the status {expected}")  # fmt: skip

    def wait_for_mails(self, expected: set[str]) -> None:
        wait_until(lambda: expected <= set(self.server.accepted), e2e.PATIENCE_SECONDS, "the mails")

    def check_replay(self):
        self.start()
        notices = {self.post(NOTICE) for _ in range(4)}
        others = {self.post(OTHER) for _ in range(2)}
        self.wait_for_letters(notices | others)
        self.wait_for_status(notices | others, "failed")
        self.check_filters(notices, others)
        self.check_refusals()

        # A dry run changes nothing.
        self.assertEqual(self.dlq("replay", "--all", "--dry-run").splitlines()[-1], "would replay 6")
        self.assertEqual(self.dlq("discard", "--all", "--dry-run").splitlines()[-1], "would discard 6")
        self.assertEqual(self.ids(), notices | others)

        # What `show` ends with replays that one.
        self.server.rejects = False
        shown = next(letter for letter in self.list() if letter["id"] in others)
        lines = self.dlq("show", shown["place"]).splitlines()
        self.assertIn(f"rejected_message: {shown['reason']}", lines)
        self.assertEqual(shown["reason"], "not today")
        self.assertIn(f"postbus-id: {shown['id']}", lines)
        event = json.loads(next(line for line in lines if line.startswith("{")))
        self.assertEqual(event["message"]["template"], "other")
        command = shlex.split(lines[-1])
        self.assertEqual(command[:3], ["postbus", "dlq", "replay"])
        done = self.run_postbus(*command[1:], env=self.environ)
        self.assertEqual((done.returncode, done.stdout), (0, "replayed 1 of 1\n"), done.stderr)
        self.wait_for_mails({shown["id"]})
        self.assertEqual(self.ids(), notices | others - {shown["id"]})
        self.assertIn("there is no dead letter", self.dlq("replay", shown["place"], expected=EXIT_CONFIG))

        # The others, not faster than asked for: the fifth begins a second after the first.
        began = time.monotonic()
        self.assertEqual(self.dlq("replay", "--all", "--rate", "4/s"), "replayed 5 of 5\n")
        self.assertGreaterEqual(time.monotonic() - began, 1)
        self.wait_for_mails(notices | others)
        self.wait_for_status(notices | others, "sent")

        # Again: there is nothing left. What comes afterwards has come before any second copy.
        self.assertEqual(self.list(), [])
        self.assertEqual(self.dlq("replay", "--all"), "replayed 0 of 0\n")
        fence = {self.post(NOTICE) for _ in range(3)}
        self.wait_for_mails(fence)
        self.assert_each_once(self.server.accepted, notices | others | fence)

        # What is discarded is not sent.
        self.server.rejects = True
        discarded = {self.post(NOTICE) for _ in range(3)}
        self.wait_for_letters(discarded)
        self.assertEqual(self.dlq("discard", "--where", "template=other"), "discarded 0 of 0\n")
        self.assertEqual(self.dlq("discard", "--all"), "discarded 3 of 3\n")
        self.assertEqual(self.list(), [])
        self.assertEqual(self.host.stop(), 0)
        self.assert_each_once(self.server.accepted, notices | others | fence)

    def check_filters(self, notices: set[str], others: set[str]):
        some = next(iter(notices))
        for filters, expected in (
            (("--where", "template=other"), others),
            (("--where", "outcome=rejected_message,template=notice"), notices),
            (("--where", "outcome=rejected_message", "--where", f"id={some}"), {some}),
            (("--where", "reason=not today", "--since", "1h"), notices | others),
            (("--where", "outcome=transient"), set()),
            (("--where", "reason=not tomorrow"), set()),
        ):
            with self.subTest(filters):
                self.assertEqual(self.ids(*filters), expected)
        time.sleep(0.01)  # so that "the last millisecond" has none
        self.assertEqual(self.ids("--since", "1ms"), set())
        text = self.dlq("list")
        self.assertTrue(text.startswith("PLACE "))
        self.assertEqual(len(text.splitlines()), 1 + len(notices | others))
        for id in notices | others:
            self.assertIn(id, text)

    def check_refusals(self):
        for arguments, expected in (
            (("replay",), "postbus: which? Name a PLACE, --where, --since or --all; see postbus dlq replay --help\n"),
            (("show",), "postbus: which? Name a PLACE, --where or --since; see postbus dlq show --help\n"),
            (("list", "--where", "templte=other"), 'did you mean "template="?'),
            (("list", "--since", "soon"), '"soon" is not a duration'),
            (("replay", "--all", "--rate", "0/s"), '"0/s" is not a rate'),
        ):
            with self.subTest(arguments):
                self.assertIn(expected, self.dlq(*arguments, expected=EXIT_USAGE))
        self.assertIn("there is no dead letter 99999/99999", self.dlq("discard", "99999/99999", expected=EXIT_CONFIG))


class OnSqlite(e2e.OnSqlite, DeadLetters):
    def test_replay_and_discard(self):
        self.check_replay()


class OnKafka(e2e.OnKafka, DeadLetters):
    def test_replay_and_discard(self):
        self.check_replay()

    def test_no_broker_is_unavailable(self):
        config = self.write_config('{ type: kafka, kafka: { brokers: "127.0.0.1:1" } }')
        done = self.run_postbus("dlq", "list", "-c", config, env={**os.environ, "SMTP_PORT": "25"})
        self.assertEqual(done.returncode, EXIT_UNAVAILABLE, done.stderr)
        self.assertIn("no answer from Kafka at 127.0.0.1:1", done.stderr)


class Page(e2e.TestCase):
    """Each command of docs/dead-letters.md, in its order, on a queue with one dead letter."""

    def test_each_command_works(self):
        shutil.copytree(e2e.ROOT / "config", self.directory / "config")
        config = self.directory / "config" / "single-node.yaml"
        with RejectingSmtpServer() as server:
            host = self.postbus(config, environment=server.environment)
            host.start()
            self.assertEqual(post(host.api, NOTICE).status, 202)
            environment = {**self.environment(server), "PATH": f"{e2e.POSTBUS.parent}:{os.environ['PATH']}"}
            listed = ("dlq", "list", "-c", config, "--where", "template=notice", "--output", "json")
            wait_until(lambda: json.loads(self.run_postbus(*listed, env=environment).stdout), e2e.PATIENCE_SECONDS,
                       "the dead letter")  # fmt: skip
            server.rejects = False
            page = (e2e.ROOT / "docs" / "dead-letters.md").read_text()
            commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
            self.assertGreaterEqual(len(commands), 6)
            outputs = {}
            for command in commands:
                with self.subTest(command):
                    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=self.directory,
                                          env=environment, timeout=e2e.PATIENCE_SECONDS)  # fmt: skip
                    self.assertEqual(done.returncode, 0, done.stderr)
                    outputs[command] = done.stdout
            self.assertIn("replayed 1 of 1\n", outputs.values())
            wait_until(lambda: server.accepted, e2e.PATIENCE_SECONDS, "the replayed mail")
            self.assertEqual(host.stop(), 0)


if __name__ == "__main__":
    e2e.main()
