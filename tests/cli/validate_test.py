"""postbus validate: what it finds, and what it asks with --connect."""

import os
import socket

import e2e
from postbus_process import Mailbox

EXIT_UNAVAILABLE, EXIT_CONFIG = 69, 78
FILE = "{ plugin: file, options: { directory: files } }"


class ValidateCase(e2e.TestCase):
    def validate(self, config, *arguments, **variables):
        return self.run_postbus("validate", "-c", config, *arguments, env={**os.environ, **variables})


class Findings(ValidateCase):
    def test_a_valid_one(self):
        done = self.validate(self.write_config(self.queue_sqlite(), FILE))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"postbus\.yaml: valid; 4 templates, 1 transport\n$")
        self.assertFalse((self.directory / "postbus.db").exists(), "it opened the queue")

    def test_each_plugin_is_tried(self):
        (self.directory / "templates" / "notice" / "html.tpl").write_text("{{#Open}}")
        config = self.write_config(
            self.queue_sqlite(),
            FILE,
            transports="{ one: { plugin: flie }, two: { plugin: file, options: { threads: 0, directory: x } },"
            f' three: {FILE}, four: {{ plugin: "null", options: {{ latancy: 1s }} }} }}',
            routes="[ { use: [one] } ]",
        )
        done = self.validate(config)
        self.assertEqual((done.returncode, done.stdout), (EXIT_CONFIG, ""))
        for words in ("notice/html.tpl", 'did you mean "file"', "two.options.threads", 'did you mean "latency"'):
            self.assertIn(words, done.stderr)
        self.assertEqual(len([line for line in done.stderr.splitlines() if line.startswith("postbus: ")]), 4, done.stderr)

    def test_the_stubs_of_mail_services_are_plugins_like_others(self):
        for transport in (
            '{ plugin: "null", options: { latency: 100ms } }',
            "{ plugin: ses-stub, options: { directory: ses, max_send_rate: 14, verified_identities: [usualstore.com] } }",
        ):
            done = self.validate(self.write_config(self.queue_sqlite(), transport))
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_sample_that_does_not_fit_is_a_warning(self):
        (self.directory / "templates" / "welcome" / "sample.json").write_text("{}")
        done = self.validate(self.write_config(self.queue_sqlite(), FILE))
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"^postbus: warning: \S+/templates/welcome/sample\.json: /")

    def test_backoff_that_is_no_step_is_a_warning_with_kafka(self):
        for queue, warned in ((self.queue_sqlite(), False), ("{ type: kafka }", True)):
            done = self.validate(self.write_config(queue, FILE, retry="{ backoff: [30s, 45s, 1d] }"))
            self.assertEqual(done.returncode, 0)
            self.assertEqual("retry.backoff: 45000ms is no step of the delay topics" in done.stderr, warned, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), int(warned))


class Connecting(ValidateCase):
    def test_one_transport_can_be_asked_alone_and_the_api_has_none(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        config = self.write_config(self.queue_sqlite(), transports=f"{{ away: {self.smtp()}, here: {FILE} }}",
                                   routes="[ { use: [here] } ]")  # fmt: skip
        here = self.validate(config, "--probe", "here", SMTP_PORT=str(port))
        self.assertEqual((here.returncode, here.stderr), (0, ""))
        self.assertEqual(here.stdout.splitlines()[1:], ["transport here: ok"])
        self.assertEqual(self.validate(config, "--probe", "away", SMTP_PORT=str(port)).returncode, EXIT_UNAVAILABLE)
        api = self.validate(self.write_config(self.queue_sqlite(), "{ plugin: flie }"), "--api")
        self.assertEqual((api.returncode, api.stderr), (0, ""))
        self.assertRegex(api.stdout, "valid; 4 templates, 0 transports")

    def test_all_is_well(self):
        with Mailbox(self.directory / "mailbox") as mailbox:
            done = self.validate(self.write_config(self.queue_sqlite()), "--connect", **mailbox.environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.splitlines()[1:], ["queue: ok", "transport primary: ok"])

    def test_a_server_that_is_away_is_69(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        config = self.write_config(self.queue_sqlite(), transports=f"{{ away: {self.smtp()}, here: {FILE} }}",
                                   routes="[ { use: [here] } ]")  # fmt: skip
        done = self.validate(config, "--connect", SMTP_PORT=str(port))
        self.assertEqual(done.returncode, EXIT_UNAVAILABLE)
        self.assertEqual(done.stdout.splitlines()[1:], ["queue: ok", "transport here: ok"])
        self.assertRegex(done.stderr, r"postbus: transport away: .*" + str(port))


class ConnectingToKafka(e2e.OnKafka, ValidateCase):
    def test_topics_are_compared(self):
        config = self.write_config(self.queue(), FILE)
        done = self.validate(config, "--connect")
        self.assertEqual(done.returncode, EXIT_CONFIG)
        self.assertIn("postbus topics check", done.stderr)
        self.assertEqual(self.run_postbus("topics", "create", "-c", config).returncode, 0)
        done = self.validate(config, "--connect")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines()[1:], ["queue: ok", "transport primary: ok"])


if __name__ == "__main__":
    e2e.main()
