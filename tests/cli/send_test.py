"""postbus send: what it takes, what it refuses, and --dry-run."""

import email
import email.policy
import json

import e2e

EXIT_USAGE, EXIT_CONFIG = 64, 78
FILE = "{ plugin: file, options: { directory: files } }"
TO = f"ada@{e2e.DOMAIN}"


class SendCase(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.config = self.write_config(self.queue_sqlite(), FILE)

    def send(self, *arguments, **options):
        return self.run_postbus("send", "-c", self.config, *arguments, **options)

    def dry_run(self, *arguments, **options) -> email.message.EmailMessage:
        done = self.send("--dry-run", *arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return email.message_from_string(done.stdout, policy=email.policy.default)


class DryRun(SendCase):
    def test_prints_the_mail_and_sends_nothing(self):
        mail = self.dry_run("--to", f"Ada <{TO}>", "--template", "welcome", "--id", "one",
                            "--data", '{"Name": "Zoë", "Link": "https://example.com/x"}')  # fmt: skip
        self.assertEqual(mail["To"], f"Ada <{TO}>")
        self.assertEqual(mail["From"], e2e.FROM)
        self.assertEqual(mail["Message-ID"], "<one@usualstore.com>")
        self.assertEqual(mail["Subject"], "Welcome to Usual Store, Zoë!")
        self.assertIn("https://example.com/x", mail.get_body(("plain",)).get_content())
        self.assertIn("Hello Zoë", mail.get_body(("html",)).get_content())
        self.assertEqual([p.name for p in self.directory.iterdir() if p.name in ("postbus.db", "files")], [])

    def test_is_the_mail_the_host_would_send(self):
        message = {"to": [TO], "template": "notice", "id": "two", "timestamp": "2026-01-02T03:04:05Z"}
        done = self.send("--dry-run", "--message", json.dumps(message))
        self.assertEqual(done.returncode, 0, done.stderr)
        postbus = self.postbus(self.config)
        postbus.start()
        self.assertEqual(self.send("--message", json.dumps(message)).stdout, "two\n")
        e2e.wait_until(lambda: list((self.directory / "files").glob("*.eml")), e2e.PATIENCE_SECONDS, "the mail")
        self.assertEqual(postbus.stop(), 0)
        [sent] = (self.directory / "files").glob("*.eml")
        self.assertEqual(sent.read_text(), done.stdout)

    def test_a_message_of_one_s_own(self):
        mail = self.dry_run("--to", TO, "--subject", "S", "--text", "-", "--html", "<p>Hi</p>", input="from stdin\n")
        self.assertEqual(mail.get_body(("plain",)).get_content().strip(), "from stdin")
        self.assertEqual(mail.get_body(("html",)).get_content().strip(), "<p>Hi</p>")

    def test_a_whole_event_from_a_file(self):
        file = self.directory / "event.json"
        file.write_text(json.dumps(e2e.seed_event("three")))
        mail = self.dry_run("--message", f"@{file}")
        self.assertEqual(mail["Message-ID"], "<three@usualstore.com>")
        self.assertEqual(mail["Subject"], "Password Reset Request")


class Refusals(SendCase):
    def test_each_has_its_place(self):
        for arguments, words in (
            (("--to", "no-at-sign", "--template", "notice"), "the mail is refused: /to/0: "),
            (("--template", "notice"), "the mail is refused: /to: "),
            (("--to", TO, "--template", "notcie"), 'did you mean "notice"?'),
            (("--to", TO, "--template", "welcome"), "the mail is refused: /data/"),
            (("--to", TO, "--template", "notice", "--data", "[1]"), "the mail is refused: /data: "),
            (("--to", TO, "--template", "notice", "--data", "@no.json"), "--data: cannot read no.json"),
            (("--message", '{"to": "x@y.example", "templat": "notice"}'), "the mail is refused: /templat: "),
            (("--message", "{"), "the mail is refused: not JSON"),
            (("--message", "{}", "--to", TO), "--message excludes --to"),
        ):
            for dry_run in ((), ("--dry-run",)):
                with self.subTest(arguments):
                    done = self.send(*arguments, *dry_run)
                    self.assertEqual((done.returncode, done.stdout), (EXIT_USAGE, ""))
                    self.assertTrue(done.stderr.startswith("postbus: "), done.stderr)
                    self.assertIn(words, done.stderr)
        self.assertFalse((self.directory / "postbus.db").exists())

    def test_a_template_that_does_not_load_is_78(self):
        (self.directory / "templates" / "notice" / "html.tpl").write_text("{{#Open}}")
        done = self.send("--to", TO, "--subject", "S", "--text", "T")
        self.assertEqual((done.returncode, done.stdout), (EXIT_CONFIG, ""))
        self.assertIn("notice/html.tpl", done.stderr)


if __name__ == "__main__":
    e2e.main()
