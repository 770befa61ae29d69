"""postbus status and send --wait: what became of an email, on both queues."""

import json

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

    def test_an_unknown_id_is_69(self):
        self.prepare()
        done = self.run_command("status", "nothing")
        self.assertEqual((done.returncode, done.stdout), (EXIT_UNAVAILABLE, ""))
        self.assertIn("postbus: no email with this id is known", done.stderr)


class OnSqlite(StatusCase, e2e.OnSqlite, e2e.TestCase):
    def test_options_of_waiting(self):
        for arguments, words in (
            (("--wait", "--dry-run"), "excludes"),
            (("--within", "3s"), "requires --wait"),
            (("--wait", "--within", "soon"), "soon is not a duration"),
        ):
            done = self.send(*arguments)
            self.assertEqual((done.returncode, done.stdout), (EXIT_USAGE, ""))
            self.assertIn(words, done.stderr)


class OnKafka(StatusCase, e2e.OnKafka, e2e.TestCase):
    def prepare(self):
        created = self.run_postbus("topics", "create", "-c", self.config)
        self.assertEqual(created.returncode, 0, created.stderr)


if __name__ == "__main__":
    e2e.main()
