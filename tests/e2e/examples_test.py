"""examples/ in Go, Python and curl: each run as its user would, its mail in a real mailbox. C++: install_test.py."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import e2e
from postbus_process import Client, Mailbox, wait_until

EXAMPLES = e2e.ROOT / "examples"
TO = f"ada@{e2e.DOMAIN}"
LINK = f"https://usualstore.com/reset?token={e2e.SECRET}"


class Example(e2e.TestCase):
    def run_example(self, *command, environment: dict) -> str:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=e2e.PATIENCE_SECONDS,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def arrived(self, mailbox: Mailbox, id: str, link: str = LINK) -> None:
        [entry] = wait_until(mailbox.entries, e2e.PATIENCE_SECONDS, f"the mail {id}")
        self.assertEqual(entry["message_id"], f"<{id}@usualstore.com>")
        self.assertEqual(entry["rcpt_tos"], [TO])
        self.assertEqual(entry["subject"], "Password Reset Request")
        self.assertIn(link, pathlib.Path(entry["file"]).read_text().replace("=\r\n", "").replace("=3D", "="))

    def serve(self, mailbox: Mailbox, role: str):
        postbus = self.postbus(self.write_config(self.queue()), role=role, environment=mailbox.environment)
        postbus.start()
        return postbus


class Curl(e2e.OnSqlite, Example):
    def test_a_mail_arrives(self):
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        postbus = self.serve(mailbox, "serve")
        script = EXAMPLES / "curl" / "password_reset.sh"
        answer = self.run_example(script, TO, LINK, environment={"POSTBUS_API": postbus.api})
        self.assertEqual(json.loads(answer)["status"], "pending")
        self.arrived(mailbox, json.loads(answer)["id"])


class Python(e2e.OnKafka, Example):
    def test_a_mail_arrives(self):
        needs = [sys.executable, "-c", "import confluent_kafka"]
        if subprocess.run(needs, capture_output=True).returncode != 0:
            raise unittest.SkipTest("confluent_kafka is not there; it comes with Debian's package python3-confluent-kafka")
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        self.serve(mailbox, "host")
        environment = {"KAFKA_BROKERS": self.kafka.bootstrap, "KAFKA_TOPIC": self.kafka.topic}
        script = EXAMPLES / "python" / "password_reset.py"
        self.arrived(mailbox, self.run_example(sys.executable, script, TO, LINK, environment=environment))


class Go(e2e.OnKafka, Example):
    """The back-end of a shop, as the seed's main application is."""

    LINK = "https://usualstore.com/reset?token=abc123"

    def build(self) -> pathlib.Path:
        go = shutil.which("go")
        if not go:
            raise unittest.SkipTest("go is not there; it comes with Debian's package golang-go")
        program = self.directory / "back-end"
        environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
        source = EXAMPLES / "go"
        got = subprocess.run([go, "mod", "download"], cwd=source, env=environment, capture_output=True, text=True, timeout=300)
        if got.returncode != 0:
            raise unittest.SkipTest(f"the modules of examples/go cannot be had: {got.stderr.strip()[-200:]}")
        built = subprocess.run([go, "build", "-o", program, "."], cwd=source, env=environment, capture_output=True,
                               text=True, timeout=400)  # fmt: skip
        self.assertEqual(built.returncode, 0, built.stderr)
        return program

    def start(self, program: pathlib.Path, **environment: str) -> str:
        """Its URL."""
        log = open(self.directory / "back-end.log", "w+")
        self.addCleanup(log.close)
        port = e2e.free_port()
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", program], stderr=log,
            env={**os.environ, "LISTEN": f"127.0.0.1:{port}", **environment},
        )  # fmt: skip
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        url = f"http://127.0.0.1:{port}"

        def answers():
            try:
                with Client(url) as client:
                    return client.request("GET", "/").status == 404
            except ConnectionRefusedError:
                self.assertIsNone(process.poll(), "the back-end ended")

        wait_until(answers, e2e.PATIENCE_SECONDS, "the back-end")
        return url

    def test_a_mail_arrives_through_kafka_and_without_it(self):
        program = self.build()
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        self.serve(mailbox, "host")
        url = self.start(
            program, KAFKA_ENABLED="true", KAFKA_BROKERS=self.kafka.bootstrap, KAFKA_TOPIC=self.kafka.topic
        )
        with Client(url, timeout=e2e.PATIENCE_SECONDS) as client:
            answer = client.post({"email": TO}, "/api/password-reset")
        self.assertEqual(answer.status, 202, answer.body)
        self.arrived(mailbox, answer.json["id"], self.LINK)

        url = self.start(program, KAFKA_ENABLED="false", **mailbox.environment)
        with Client(url, timeout=e2e.PATIENCE_SECONDS) as client:
            answer = client.post({"email": TO}, "/api/password-reset")
        self.assertEqual((answer.status, answer.json), (202, {"sent": True}), answer.body)
        self.assertEqual([entry["rcpt_tos"] for entry in mailbox.entries()], [[TO], [TO]])


class Documentation(unittest.TestCase):
    def test_the_code_shown_is_that_of_the_examples(self):
        page = (e2e.ROOT / "docs" / "migrate-from-direct-smtp.md").read_text()
        blocks = re.findall(r"^<!-- (\S+) -->\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(blocks), page.count("```") / 2, "a block that names no file")
        self.assertGreaterEqual(len(blocks), 3)
        for file, code in blocks:
            self.assertIn(code, (e2e.ROOT / file).read_text(), file)


if __name__ == "__main__":
    e2e.main()
