"""postbus status and send --wait: what became of an email, on both queues."""

import datetime
import json
import re
import sqlite3
import textwrap
import threading

import e2e

EXIT_USAGE, EXIT_UNAVAILABLE = 64, 69
STUB = "{ plugin: ses-stub, options: { directory: ses, verified_identities: [usualstore.com] } }"
TO = f"ada@{e2e.DOMAIN}"


class StatusCase:
    """Mixed with a queue."""

    def setUp(self):
        super().setUp()
        self.config = self.write_config(self.queue(), STUB)

    def run_command(self, *arguments):
        return self.run_postbus(*arguments[:1], "-c", self.config, *arguments[1:])

    def send(self, *arguments):
        return self.run_command("send", "--to", TO, "--subject", "S", "--text", "T", *arguments)

    def prepare(self):
        """What the queue needs before the first mail."""

    def check_that_no_address_is_stored(self, *addresses):
        """In what the status is read from, once the mails are done with."""

    def test_sent_refused_and_neither_yet(self):
        self.prepare()
        early = self.send("--wait", "--within", "1s", "--id", "early")
        self.assertEqual(early.returncode, EXIT_UNAVAILABLE, early.stdout)
        # Kafka may have logged something before it.
        self.assertTrue(early.stderr.endswith("postbus: not sent within 1s; it stays in the queue\n"), early.stderr)

        host = self.postbus(self.config, role="host")
        host.start()
        sent = self.send("--wait", "--within", "80s", "--id", "sent")
        self.assertEqual(sent.returncode, 0, sent.stderr)
        lines = sent.stdout.splitlines()
        self.assertEqual(lines[0], "sent")
        self.assertRegex(lines[-1], r"^\S+Z sent recipient 0 try 1 via primary: accepted 200 ")

        refused = self.send("--wait", "--within", "80s", "--id", "refused", "--from", "shop@elsewhere.example")
        self.assertEqual(refused.returncode, EXIT_USAGE)
        self.assertTrue(refused.stderr.endswith("postbus: not sent: it is a dead letter\n"), refused.stderr)
        self.assertRegex(refused.stdout, r"Z dead_lettered recipient 0 .*: rejected_message 400 MessageRejected: ")

        for id, status in (("early", "sent"), ("sent", "sent"), ("refused", "failed")):
            text = self.run_command("status", id)
            self.assertEqual(text.returncode, 0, text.stderr)
            self.assertEqual(text.stdout.splitlines()[0], f"{id}: {status}")
            record = json.loads(self.run_command("status", id, "--output", "json").stdout)
            self.assertEqual((record["id"], record["status"]), (id, status))
            self.assertNotIn(TO, text.stdout)
        self.assertEqual(host.stop(), 0)

    def test_wait_tells_an_end_without_a_mail(self):
        self.prepare()
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        message = {"id": "late", "to": [TO], "subject": "S", "text": "T", "expires_at": expires.isoformat()}
        done = []
        waiting = threading.Thread(
            target=lambda: done.append(self.run_command("send", "--wait", "--within", "80s", "--message", json.dumps(message)))
        )
        waiting.start()
        e2e.wait_until(lambda: datetime.datetime.now(datetime.UTC) > expires, e2e.PATIENCE_SECONDS, "the mail's end")
        host = self.postbus(self.config, role="host")
        host.start()
        waiting.join()
        self.assertEqual(done[0].returncode, EXIT_USAGE, done[0].stderr)
        self.assertTrue(done[0].stderr.endswith("postbus: not sent: it is expired\n"), done[0].stderr)
        self.assertEqual(host.stop(), 0)

    def test_the_emails_to_an_address(self):
        self.prepare()
        ada, bob = f"Ada <ada@bücher.{e2e.DOMAIN}>", f"bob@{e2e.DOMAIN}"
        send = lambda *arguments: self.run_command("send", "--subject", "S", "--text", "T", *arguments)
        host = self.postbus(self.config, role="host")
        host.start()
        self.assertEqual(send("--to", ada, "--id", "first", "--wait", "--within", "80s").returncode, 0)
        refused = send("--to", bob, "--bcc", ada, "--id", "second", "--from", "shop@elsewhere.example", "--wait", "--within", "80s")
        self.assertEqual(refused.returncode, EXIT_USAGE)
        self.assertEqual(send("--to", bob, "--id", "third", "--wait", "--within", "80s").returncode, 0)
        self.assertEqual(host.stop(), 0)

        listed = self.run_command("status", "--to", f"ADA@xn--bcher-kva.{e2e.DOMAIN}")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        second, first = listed.stdout.splitlines()
        self.assertRegex(first, r"^first \S+Z sent recipient 0 try 1 via primary: accepted 200 ")
        self.assertRegex(second, r"^second \S+Z dead_lettered recipient 0,1 .*: rejected_message 400 MessageRejected: ")
        self.assertNotIn(e2e.DOMAIN, listed.stdout)

        emails = json.loads(self.run_command("status", "--to", bob, "--output", "json").stdout)
        self.assertEqual([(email["id"], email["status"]) for email in emails], [("third", "sent"), ("second", "failed")])
        self.assertEqual(emails[1]["last"]["outcome"], "rejected_message")
        self.assertEqual(emails[1]["last"]["recipients"], [0, 1])
        emails = json.loads(self.run_command("status", "--to", bob, "--limit", "1", "--output", "json").stdout)
        self.assertEqual([email["id"] for email in emails], ["third"])

        nobody = self.run_command("status", "--to", f"nobody@{e2e.DOMAIN}")
        self.assertEqual((nobody.returncode, nobody.stdout), (0, "no email to this address is known\n"))
        self.assertEqual(self.run_command("status", "--to", f"nobody@{e2e.DOMAIN}", "--output", "json").stdout, "[]\n")
        other_key = self.run_command("status", "--to", bob, "--set", "queue.recipient_key=another secret of ours")
        self.assertEqual(other_key.stdout, "no email to this address is known\n")
        self.check_that_no_address_is_stored(b"ada@", b"bob@")

    def test_an_unknown_id_is_69(self):
        self.prepare()
        done = self.run_command("status", "nothing")
        self.assertEqual((done.returncode, done.stdout), (EXIT_UNAVAILABLE, ""))
        self.assertIn("postbus: no email with this id is known", done.stderr)


class OnSqlite(StatusCase, e2e.OnSqlite, e2e.TestCase):
    def check_that_no_address_is_stored(self, *addresses):
        with sqlite3.connect(self.directory / "postbus.db") as database:
            rows = database.execute("SELECT * FROM status").fetchall() + database.execute("SELECT * FROM status_recipients").fetchall()
        self.assertGreater(len(rows), 6)
        for address in addresses:
            self.assertNotIn(address, repr(rows).encode())

    def test_options_of_waiting(self):
        for arguments, words in (
            (("--wait", "--dry-run"), "excludes"),
            (("--within", "3s"), "requires --wait"),
            (("--wait", "--within", "soon"), "soon is not a duration"),
        ):
            done = self.send(*arguments)
            self.assertEqual((done.returncode, done.stdout), (EXIT_USAGE, ""))
            self.assertIn(words, done.stderr)

    def test_the_documentation(self):
        """Each command and the YAML of docs/status.md."""
        text = (e2e.ROOT / "docs" / "status.md").read_text()
        commands = re.findall(r"```sh\npostbus (status) -c config/single-node.yaml (.*)\n```", text)
        self.assertEqual(len(commands), 2)
        id = re.search(r"^(\S+): sent$", text, re.MULTILINE)[1]
        host = self.postbus(self.config, role="host")
        host.start()
        sent = self.run_command("send", "--to", "ada@example.com", "--subject", "S", "--text", "T", "--id", id, "--wait")
        self.assertEqual(sent.returncode, 0, sent.stderr)
        for name, arguments in commands:
            done = self.run_command(name, *arguments.split())
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(id, done.stdout)
            self.assertRegex(done.stdout, r"Z sent recipient 0 try 1 via primary: accepted 2")
        self.assertEqual(host.stop(), 0)

        key = self.directory / "recipient_key"
        key.write_text("0123456789abcdef")
        (yaml,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
        queue = textwrap.dedent(re.sub("^ *```.*", "", yaml)).replace("/run/secrets/recipient_key", str(key))
        config = self.config.read_text()
        self.config.write_text(re.sub(r"^queue:.*\n", queue + "  type: sqlite\n  sqlite: { path: postbus.db }\n", config, flags=re.MULTILINE))
        listed = self.run_command("status", "--to", "ada@example.com")
        self.assertEqual((listed.returncode, listed.stdout), (0, "no email to this address is known\n"), listed.stderr)

    def test_options_of_asking(self):
        for arguments, words in (
            ((), "of which email? Name its ID, or --to ADDRESS"),
            (("an-id", "--to", TO), "excludes"),
            (("an-id", "--limit", "3"), "requires --to"),
            (("--to", TO, "--limit", "0"), "--limit"),
            (("--to", "nobody"), 'postbus: --to: "nobody" is not an address'),
        ):
            done = self.run_command("status", *arguments)
            self.assertEqual((done.returncode, done.stdout), (EXIT_USAGE, ""), arguments)
            self.assertIn(words, done.stderr)


class OnKafka(StatusCase, e2e.OnKafka, e2e.TestCase):
    def check_that_no_address_is_stored(self, *addresses):
        files = list((self.directory / "state").glob("*-status.db*"))
        self.assertTrue(files)
        for file in files:
            for address in addresses:
                self.assertNotIn(address, file.read_bytes())

    def prepare(self):
        created = self.run_postbus("topics", "create", "-c", self.config)
        self.assertEqual(created.returncode, 0, created.stderr)


if __name__ == "__main__":
    e2e.main()
