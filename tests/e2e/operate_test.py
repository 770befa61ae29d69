"""What an operator does: starts, stops, restarts, changes the configuration, and gets it wrong."""

import json
import re
import socket
import threading

import e2e
from postbus_process import Mailbox, post, wait_until
from recording_smtp_server import RecordingSmtpServer

NOTICE = {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}
EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 64, 69, 78


class OneConfigAfterTheOther(e2e.TestCase):
    def test_another_transport_is_a_line_of_yaml(self):
        mailbox = self.enterContext(Mailbox(self.directory / "mailbox"))
        first = self.postbus(self.write_config(self.queue_sqlite()), environment=mailbox.environment)
        first.start()
        by_smtp = post(first.api, NOTICE).json["id"]
        wait_until(lambda: mailbox.entries(), e2e.PATIENCE_SECONDS, "the mail by smtp")
        self.assertEqual(first.stop(), 0)

        file = "{ plugin: file, options: { directory: files } }"
        second = self.postbus(self.write_config(self.queue_sqlite(), file), environment=mailbox.environment)
        second.start()
        by_file = post(second.api, NOTICE).json["id"]
        written = wait_until(lambda: list((self.directory / "files").glob("*.eml")), e2e.PATIENCE_SECONDS, "the file")
        self.assertEqual(second.stop(), 0)
        self.assertIn("plugin=file" if "plugin=file" in second.output() else '"plugin":"file"', second.output())

        self.assertEqual([entry["message_id"] for entry in mailbox.entries()], [f"<{by_smtp}@usualstore.com>"])
        self.assertEqual(len(written), 1)
        self.assertIn(f"Message-ID: <{by_file}@usualstore.com>", written[0].read_text())

    def test_the_start_tells_the_routes(self):
        null = '{ plugin: "null" }'
        routes = """
  - { match: { template: newsletter, priority: low }, split: { one: 95, two: 5 } }
  - { use: [two, one] }"""
        config = self.write_config(self.queue_sqlite(), transports=f"{{ one: {null}, two: {null} }}", routes=routes)
        postbus = self.postbus(config)
        postbus.start()
        told = re.findall(r'"route",(.*)}', postbus.output())
        self.assertEqual(told, ['"match":"template is newsletter and priority is low","use":"one,two","split":"yes"',
                                '"match":"*","use":"two,one"'])  # fmt: skip
        self.assertEqual(postbus.stop(), 0)

    def test_set_wins_over_the_file(self):
        config = self.write_config(self.queue_sqlite(), "{ plugin: file, options: { directory: files } }")
        other = self.directory / "other"
        postbus = self.postbus(config, settings={"transports.primary.options.directory": other})
        postbus.start()
        self.assertEqual(post(postbus.api, NOTICE).status, 202)
        wait_until(lambda: list(other.glob("*.eml")), e2e.PATIENCE_SECONDS, "the file in the other directory")
        self.assertEqual(postbus.stop(), 0)

    def test_send_and_api_feed_the_host(self):
        """All three roles on one SQLite file at a time."""
        with RecordingSmtpServer() as server:
            config = self.write_config(self.queue_sqlite())
            host = self.postbus(config, role="host", environment=server.environment)
            host.start()
            self.assertEqual(host.api, "")
            api = self.postbus(config, role="api", environment=server.environment, log=self.directory / "api.log")
            api.start()
            ids = {post(api.api, NOTICE).json["id"]}
            sent = self.run_postbus("send", "-c", config, "--to", NOTICE["to"], "--template", "notice",
                                    env=self.environment(server))  # fmt: skip
            self.assertEqual(sent.returncode, 0, sent.stderr)
            ids.add(sent.stdout.strip())
            wait_until(lambda: all(any(id.encode() in mail for mail in server.mails()) for id in ids),
                       e2e.PATIENCE_SECONDS, "both mails")  # fmt: skip
            self.assertEqual((api.stop(), host.stop()), (0, 0))


class Stopping:
    """SIGTERM while mails come and go; mixed with a queue."""

    def check_a_stop_under_load(self):
        sink = self.sink()
        config = self.write_config(self.queue())
        ids = [e2e.new_id() for _ in range(20_000)]
        first = self.postbus(config, environment=sink.environment)
        first.start()
        accepted: list[str] = []
        mails = [{**NOTICE, "id": id} for id in ids]
        feeder = threading.Thread(target=e2e.post_all, args=(first.api, mails, accepted))
        feeder.start()
        wait_until(lambda: sink.count() > 500, e2e.PATIENCE_SECONDS, "the first mails at the sink")
        self.assertEqual(first.stop(), 0)
        feeder.join()
        self.assertIn("nothing was left unfinished", first.output())
        at_stop = len(accepted)
        self.assertLess(at_stop, len(ids), "everything was accepted before the stop")

        second = self.postbus(config, environment=sink.environment)
        second.start()
        # Not asked again: what a stop refused is refused, what it accepted is sent.
        wait_until(lambda: set(accepted) <= set(sink.ids()), e2e.PATIENCE_SECONDS, "every accepted mail")
        self.assertEqual(second.stop(), 0)
        got = sink.ids()
        self.assertEqual(e2e.duplicates(got), [], "mails sent twice")
        self.assertLessEqual(set(got), set(ids))
        # A client without answer asks again, and its mail comes twice.
        self.assertEqual(set(got) - set(accepted), set(), "in the queue, but never answered")
        print(f"stopped after {at_stop} answers")


class StoppingOnSqlite(Stopping, e2e.OnSqlite, e2e.TestCase):
    def test_a_stop_under_load(self):
        self.check_a_stop_under_load()


class StoppingOnKafka(Stopping, e2e.OnKafka, e2e.TestCase):
    def test_a_stop_under_load(self):
        self.check_a_stop_under_load()


class Topics(e2e.OnKafka, e2e.TestCase):
    def test_create_and_check(self):
        config = self.write_config(self.queue(), "{ plugin: file, options: { directory: files } }")
        before = self.run_postbus("topics", "check", "-c", config)
        self.assertEqual(before.returncode, EXIT_CONFIG, before.stdout)
        self.assertIn("missing", before.stdout)
        self.assertIn("topics create", before.stdout)
        before = self.run_postbus("topics", "check", "-c", config, "--output", "json")
        self.assertEqual(before.returncode, EXIT_CONFIG, before.stdout)
        missing = {topic["topic"] for topic in json.loads(before.stdout) if not topic["exists"]}

        created = self.run_postbus("topics", "create", "-c", config)
        self.assertEqual(created.returncode, 0, created.stderr)
        names = {line.split()[1] for line in created.stdout.splitlines()}
        steps = ("5s", "30s", "2m", "10m", "1h", "6h", "1d")
        self.assertEqual(
            names,
            {self.kafka.topic, self.kafka.topic + "-high", self.kafka.topic + "-low"}
            | {f"{self.kafka.prefix}-{name}" for name in ("dlq", "status", "cancellations")}
            | {f"{self.kafka.prefix}-delay-{step}" for step in steps},
        )
        self.assertEqual(names, missing)
        again = self.run_postbus("topics", "create", "-c", config)
        self.assertEqual((again.returncode, again.stdout), (0, "nothing to do: all topics exist\n"))
        after = self.run_postbus("topics", "check", "-c", config)
        self.assertEqual(after.returncode, 0, after.stdout)
        self.assertEqual(len(after.stdout.splitlines()), len(names))
        self.assertIn("replica", after.stderr)  # one broker: the warning
        after = self.run_postbus("topics", "check", "-c", config, "--output", "json")
        self.assertEqual(after.returncode, 0, after.stdout)
        self.assertEqual(
            {(topic["topic"], topic["exists"], topic["partitions"], topic["replicas"], *topic["differences"]) for topic in json.loads(after.stdout)},
            {(name, True, 24, 1) for name in names},
        )

    def test_no_kafka_is_69(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        config = self.write_config(self.queue(), "{ plugin: file, options: { directory: files } }")
        done = self.run_postbus("topics", "check", "-c", config, "--set", f"queue.kafka.brokers=127.0.0.1:{port}")
        self.assertEqual(done.returncode, EXIT_UNAVAILABLE, done.stdout)
        self.assertIn(str(port), done.stderr)


class Mistakes(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.file = "{ plugin: file, options: { directory: files } }"

    def test_a_second_host_on_the_file_is_refused(self):
        config = self.write_config(self.queue_sqlite(), self.file)
        first = self.postbus(config)
        first.start()
        listen = ["--set", "api.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"]
        second = self.run_postbus("host", "-c", config, *listen)
        self.assertEqual(second.returncode, EXIT_UNAVAILABLE)
        self.assertRegex(second.stderr, rf"another host \(pid \d+\) works on queue file {self.directory}/postbus.db")
        self.assertEqual(post(first.api, NOTICE).status, 202)
        first.kill()
        third = self.postbus(config)
        third.start()  # a killed one leaves nothing behind that is in the way
        self.assertEqual(third.stop(), 0)

    def test_a_taken_port_is_69(self):
        config = self.write_config(self.queue_sqlite(), self.file)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            done = self.run_postbus("serve", "-c", config, "--set", f"api.listen={address}", "--set",
                                    "admin.listen=127.0.0.1:0")  # fmt: skip
        self.assertEqual(done.returncode, EXIT_UNAVAILABLE, done.stderr)
        self.assertIn(address, done.stderr)

    def test_configuration_errors_are_78_and_say_where(self):
        good = self.write_config(self.queue_sqlite(), self.file).read_text()
        for wrong, position, words in (
            (good.replace("plugin: file", "plugin: flie"), ":6:", "flie"),
            (good.replace("directory: files", "directry: files"), ":6:", 'did you mean "directory"'),
            (good.replace("state_dir", "state_dri"), ":3:1", 'did you mean "state_dir"'),
            (good + "state_dir: again\n", ":7:1: state_dir: duplicate key; it stands at ", "postbus.yaml:3:1, too"),
            (good.replace("plugin: file", "plugin: null"), ":6:26: transports.primary.plugin: ", 'write "null"'),
            (good.replace("version: 1", "version: 2"), ":1:10", "version"),
            (good.replace("noreply@", "noreply"), ":4:", "defaults.from"),
            (good + 'api: { listen: "127.0.0.1:99999" }\n', ":7:", "127.0.0.1:99999"),
            (good + 'api: { listen: "0.0.0.0:0" }\n', ":7:", "no API keys"),
            (good + 'host: { max_in_flight: "${POSTBUS_NOT_SET}" }\n', ":7:", "POSTBUS_NOT_SET"),
            (good + "queue: [\n", ":", "postbus.yaml"),
        ):
            with self.subTest(words):
                config = self.directory / "postbus.yaml"
                config.write_text(wrong)
                for command in ("validate", "serve"):
                    done = self.run_postbus(command, "-c", config)
                    self.assertEqual(done.returncode, EXIT_CONFIG, done.stderr)
                    self.assertIn(f"{config}{position}", done.stderr)
                    self.assertIn(words, done.stderr)

    def test_a_missing_configuration_is_78(self):
        for file in (self.directory / "no.yaml", self.directory):
            done = self.run_postbus("serve", "-c", file)
            self.assertEqual(done.returncode, EXIT_CONFIG)
            self.assertIn(f"{file}: cannot be read", done.stderr)

    def test_usage_errors_are_64(self):
        config = self.write_config(self.queue_sqlite(), self.file)
        for arguments in ((), ("srve",), ("serve",), ("serve", "-c", config, "--nonsense"), ("topics", "-c", config)):
            with self.subTest(arguments):
                self.assertEqual(self.run_postbus(*arguments).returncode, EXIT_USAGE)
        self.assertEqual(self.run_postbus("--help").returncode, 0)
        self.assertEqual(self.run_postbus("--version").returncode, 0)

    def test_send_refuses_what_is_no_mail(self):
        config = self.write_config(self.queue_sqlite(), self.file)
        done = self.run_postbus("send", "-c", config, "--to", "no-at-sign", "--template", "notice")
        self.assertEqual(done.returncode, EXIT_USAGE)
        self.assertIn("/to/0", done.stderr)


class ShippedConfigurations(e2e.TestCase):
    def test_each_is_valid(self):
        files = sorted((e2e.ROOT / "config").glob("*.yaml"))
        self.assertGreaterEqual(len(files), 3)
        for file in files:
            with self.subTest(file.name):
                done = self.run_postbus("validate", "-c", file)
                self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    e2e.main()
