"""kill -9 with mails under way: what the server had answered never goes again, what it had not is in doubt, nothing is lost."""

import collections
import json
import os
import random
import re
import signal
import sqlite3
import threading
import time

import e2e
from gated_server import GatedServer
from kafka_broker import KafkaBroker
from postbus_process import Client, ProcessError, wait_until

SECONDS = 120
MAILS = 400


class KillMinus9(e2e.TestCase):
    def start(self, server, **top):
        config = self.write_config(
            self.queue(), transport=self.smtp(max_connections=8), retry="{ backoff: [1s], max_retries: 5 }", **top
        )
        postbus = self.postbus(config, environment=server.environment)
        postbus.start()
        return postbus

    def post(self, postbus, count: int) -> set[str]:
        accepted: list[str] = []
        e2e.post_all(postbus.api, [{"to": f"a{i}@{e2e.DOMAIN}", "template": "notice"} for i in range(count)], accepted)
        self.assertEqual(len(accepted), count)
        return set(accepted)

    def kill_with_closed_gate(self, postbus, server) -> tuple[set[str], set[str]]:
        """Kills when each connection waits for an answer: then the host knows all answers that were given.
        Returns what was answered and what was not."""
        server.gate.clear()
        seen = [-1, 0.0]

        def all_wait():
            now = len(server.complete())
            if now != seen[0]:
                seen[:] = now, time.monotonic()
            return now > len(server.answered()) and time.monotonic() - seen[1] > 2

        wait_until(all_wait, SECONDS, "all connections to wait for an answer")
        postbus.kill()
        answered = set(server.answered())
        return answered, set(server.complete()) - answered

    def check(self, server, expected: set[str], answered: set[str], waiting: set[str], copies_of_waiting: int) -> None:
        wanted = {id: copies_of_waiting if id in waiting else 1 for id in expected}
        wait_until(
            lambda: not collections.Counter(wanted) - collections.Counter(server.complete()), SECONDS, "every mail, each as often as it should"
        )
        copies = collections.Counter(server.complete())
        self.assertEqual(set(copies), expected)
        self.assertEqual({id for id in answered if copies[id] > 1}, set(), "answered before the kill, and sent again")
        self.assertEqual({id for id in waiting if copies[id] != copies_of_waiting}, set(), "in doubt")
        self.assertEqual({id for id in expected - answered - waiting if copies[id] > 1}, set(), "sent twice after the kill")

    def check_what_was_answered_never_goes_again(self):
        with GatedServer() as server:
            postbus = self.start(server)
            expected = self.post(postbus, MAILS // 2)
            poster = threading.Thread(target=lambda: expected.update(self.post(postbus, MAILS // 2)))
            poster.start()
            wait_until(lambda: len(server.answered()) > MAILS // 2, SECONDS, "the first mails")
            poster.join()
            answered, waiting = self.kill_with_closed_gate(postbus, server)
            self.assertGreater(len(waiting), 0)
            server.gate.set()
            postbus.start()
            self.check(server, expected, answered, waiting, copies_of_waiting=2)
            self.assertEqual(postbus.stop(), 0)

    def check_random_kills(self, kills: int = 5):
        with GatedServer() as server:
            postbus = self.start(server)
            rng = random.Random(7)
            expected: set[str] = set()
            unanswered: collections.Counter = collections.Counter()
            for _ in range(kills):
                accepted: list[str] = []
                poster = threading.Thread(
                    target=e2e.post_all,
                    args=(postbus.api, [{"to": f"a{i}@{e2e.DOMAIN}", "template": "notice"} for i in range(2 * MAILS)], accepted),
                )
                before = len(server.answered())
                poster.start()
                wait_until(lambda: len(server.answered()) > before + MAILS // 4, SECONDS, "mails under way")
                time.sleep(rng.random() * 0.2)
                postbus.kill()
                poster.join()
                expected |= set(accepted)
                # Answers on their way at the kill are in doubt as much as those not given: the last of each connection.
                complete = server.complete()
                unanswered.update(complete[-8:])
                postbus.start()
            wait_until(lambda: expected <= set(server.complete()), SECONDS, "every mail")
            self.assertEqual(postbus.stop(), 0)
            complete = server.complete()
            twice = collections.Counter(complete)
            second = sum(count - 1 for count in twice.values())
            print(f"{kills} kills, {len(expected)} accepted, {len(twice)} sent, {second} second copies", flush=True)
            self.assertEqual(expected - set(complete), set(), "mails lost")
            self.assertLessEqual(second, 8 * kills, "more than were past their final dot at the kills")


class OnSqlite(e2e.OnSqlite, KillMinus9):
    def test_what_was_answered_never_goes_again(self):
        self.check_what_was_answered_never_goes_again()

    def test_random_kills(self):
        self.check_random_kills()

    def test_completions_the_file_does_not_have_yet(self):
        """Somebody holds the file's write lock: mails are sent and answered, and no transaction says so."""
        with GatedServer() as server:
            server.gate.clear()
            postbus = self.start(server)
            expected = self.post(postbus, MAILS)
            wait_until(lambda: len(server.complete()) > 0, SECONDS, "the first mails")
            blocker = sqlite3.connect(self.directory / "postbus.db", isolation_level=None)
            self.addCleanup(blocker.close)
            blocker.execute("BEGIN IMMEDIATE")
            server.gate.set()
            wait_until(lambda: len(server.answered()) > 50, SECONDS, "mails while no transaction can be written")
            answered, waiting = self.kill_with_closed_gate(postbus, server)
            in_file = blocker.execute("SELECT (SELECT count(*) FROM high) + (SELECT count(*) FROM normal)").fetchone()[0]
            self.assertEqual(in_file, MAILS, "the file knows of none")
            blocker.execute("ROLLBACK")
            server.gate.set()
            postbus.start()
            self.check(server, expected, answered, waiting, copies_of_waiting=2)
            sent_before = postbus.output().count("accepted before the host ended")
            self.assertEqual(sent_before, len(answered))
            self.assertEqual(postbus.stop(), 0)


class Poison(e2e.OnSqlite, e2e.TestCase):
    """A transport that dies of one mail, in a thread of its own: nobody sees which mail it was."""

    GOOD = 60

    def test_a_mail_that_kills_the_host_twice_is_a_dead_letter_and_no_other_is(self):
        plugin = e2e.BUILD / "tests" / "plugins" / "scripted_transport.so"
        holds = self.directory / "holds"
        holds.touch()
        config = self.write_config(
            self.queue(), transport=f'{{ plugin: "{plugin}", options: {{ fault_file: "{holds}" }} }}'
        )
        postbus = self.postbus(config)
        postbus.start()
        with Client(postbus.api) as client:
            mail = {"template": "notice"}
            for i in range(self.GOOD):
                self.assertEqual(client.post({**mail, "to": f"hold-while-file+{i}@{e2e.DOMAIN}"}).status, 202)
            wait_until(lambda: postbus.metric("postbus_email_inflight") == self.GOOD, SECONDS, "mails with the transport")
            bad = client.post({**mail, "to": f"crash@{e2e.DOMAIN}", "priority": "high"}).json["id"]
        self.assertEqual(postbus.wait(SECONDS), -signal.SIGABRT)

        # Suspected are all that were with the transport. They go again one at a time, so that the second death is one's.
        holds.unlink()
        with self.assertRaises(ProcessError):
            postbus.start()
            postbus.wait_for_log("never said", 60)
        self.assertEqual(postbus.code, -signal.SIGABRT)

        postbus.start()
        postbus.wait_for_log(rf"dead-lettered.*{bad}.*poison", SECONDS)
        done = self.run_postbus("dlq", "list", "-c", config, "--output", "json")
        letters = json.loads(done.stdout)
        self.assertEqual([(letter["id"], letter["outcome"]) for letter in letters], [(bad, "poison")])
        wait_until(lambda: postbus.metric("postbus_queue_waiting") + postbus.metric("postbus_email_inflight") == 0, SECONDS, "the others")
        sent = set(re.findall(r"sent.*?id\"?[=:]\"?([0-9a-f-]{36})", self.log.read_text()))
        self.assertEqual(len(sent - {bad}), self.GOOD, "who was only suspected is sent")
        self.assertEqual(postbus.stop(), 0)


class OnKafka(e2e.OnKafka, KillMinus9):
    def test_what_was_answered_never_goes_again(self):
        self.check_what_was_answered_never_goes_again()

    def test_random_kills(self):
        self.check_random_kills()


class WhileKafkaIsStopped(KillMinus9):
    """A broker of its own, which stands still: mails that were fetched are sent and answered, and no commit says so."""

    def setUp(self):
        if not os.path.exists(os.environ["POSTBUS_KAFKA_STATE"]):
            self.skipTest("Kafka does not run; see the test kafka_start")
        super().setUp()
        self.kafka = self.enterContext(KafkaBroker())

    def queue(self) -> str:
        return f'{{ type: kafka, kafka: {{ brokers: "{self.kafka.bootstrap}" }} }}'

    def test_completions_that_are_not_committed(self):
        with GatedServer() as server:
            server.gate.clear()
            postbus = self.start(server)
            expected = self.post(postbus, MAILS)
            wait_until(lambda: postbus.metric("postbus_email_inflight") > 200, SECONDS, "mails in memory")
            for pid in self.kafka.pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                server.gate.set()
                wait_until(lambda: len(server.answered()) > 50, SECONDS, "mails while nothing can be committed")
                answered, waiting = self.kill_with_closed_gate(postbus, server)
            finally:
                for pid in self.kafka.pids:
                    os.kill(pid, signal.SIGCONT)
            server.gate.set()
            postbus.start()
            self.check(server, expected, answered, waiting, copies_of_waiting=2)
            self.assertEqual(postbus.stop(), 0)


if __name__ == "__main__":
    e2e.main()
