"""docs/when-things-fail.md on a real Kafka: what is lost (nothing), what waits, and that it goes on by itself."""

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time

import e2e
from gated_server import GatedServer
from kafka_broker import WITH_ACLS, KafkaBroker, allow_writes, deny_writes
from postbus_process import Client, get, post, wait_until

SECONDS = 180
LEASE_SECONDS = 10  # without an answer to a commit
NOTICE = {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}


class SlowServer(GatedServer):
    """Knows when the last final dot came, and takes its time to answer."""

    def __init__(self, seconds: float = 0):
        super().__init__()
        self.seconds = seconds
        self.last_arrival = 0.0

    def reply_to(self, data: bytes) -> bytes:
        self.last_arrival = time.monotonic()
        reply = super().reply_to(data)
        time.sleep(self.seconds)
        return reply


def ready(host) -> int:
    return get(host.admin, "/readyz").status


class OwnKafka(e2e.OnKafka):
    """A broker of its own: nobody else should miss it."""

    SETTINGS: dict = {}

    def setUp(self):
        super().setUp()
        self.broker = self.enterContext(KafkaBroker(settings=self.SETTINGS))
        self.kafka.bootstrap = self.broker.bootstrap


class BrokerDown(OwnKafka, e2e.TestCase):
    SETTINGS = {"broker.session.timeout.ms": 9_000}  # it cannot come back before that has ended

    def start(self, server):
        """A host that has more mails in memory than it can send in the time that it may."""
        host = self.postbus(self.write_config(self.queue(), self.smtp(max_connections=8)), environment=server.environment)
        host.start()
        accepted: list[str] = []
        first = post(host.api, NOTICE).json["id"]
        wait_until(lambda: get(host.api, f"/v1/emails/{first}").json["status"] == "sent", SECONDS, "its status")
        server.gate.clear()
        e2e.post_all(host.api, [NOTICE] * 2000, accepted)
        self.assertEqual(len(accepted), 2000)
        accepted.append(first)
        wait_until(lambda: host.metric("postbus_email_inflight") > 1000, SECONDS, "mails in memory")
        return host, accepted

    def wait_for_a_pause(self, server, since: float) -> float:
        """Returns how long after `since` the last mail came."""

        def quiet():
            last = server.last_arrival
            return last if time.monotonic() - max(last, since) > 4 else None

        return wait_until(quiet, SECONDS, "sending to pause") - since

    def check_end(self, host, server, accepted: list[str], maybe: set[str]) -> None:
        server.seconds = 0
        wait_until(lambda: set(accepted) <= set(server.complete()), SECONDS, "every accepted mail")
        wait_until(lambda: ready(host) == 200, SECONDS, lambda: f"ready again: {get(host.admin, '/readyz').body}")
        self.assertEqual(host.stop(), 0)
        ids = server.complete()
        self.assertLessEqual(set(ids) - set(accepted), maybe, "mails nobody asked for")
        self.assertEqual(e2e.duplicates(ids), [], "sent twice, though the partitions came back to where they were")

    def test_kafka_stands_still(self):
        with SlowServer(seconds=0.1) as server, contextlib.ExitStack() as again:
            host, accepted = self.start(server)
            answers: list[int] = []
            late = {**NOTICE, "id": e2e.new_id()}

            def ask():
                with Client(host.api, timeout=SECONDS) as client:
                    answers.append(client.post(late).status)

            for pid in self.broker.pids:
                os.kill(pid, signal.SIGSTOP)
                again.callback(os.kill, pid, signal.SIGCONT)
                os.waitid(os.P_PID, pid, os.WSTOPPED)
            stopped = time.monotonic()
            server.gate.set()
            asking = threading.Thread(target=ask)
            asking.start()
            last = self.wait_for_a_pause(server, stopped)
            print(f"the last mail came {last:.1f} s after Kafka stood still", flush=True)
            self.assertGreater(last, LEASE_SECONDS / 2, "a hiccup is no reason to pause")
            self.assertLess(last, LEASE_SECONDS + 3)
            self.assertLess(len(server.complete()), len(accepted), "it was not for want of mails")
            self.assertEqual(ready(host), 503)
            self.assertEqual(answers, [], "an answer, though nothing can be stored")
            again.close()
            asking.join()
            if answers == [202]:
                accepted.append(late["id"])
            self.check_end(host, server, accepted, {late["id"]})

    def test_kafka_is_killed_and_comes_back(self):
        with SlowServer(seconds=0.1) as server:
            host, accepted = self.start(server)
            first = server.complete()[0]
            self.broker.kill()
            killed = time.monotonic()
            server.gate.set()
            maybe: set[str] = set()

            def refused():
                mail = {**NOTICE, "id": e2e.new_id()}
                maybe.add(mail["id"])
                with Client(host.api, timeout=SECONDS) as client:
                    answer = client.post(mail)
                self.assertEqual(answer.status, 503, answer.body)
                return answer

            self.assertIn(refused().json["code"], ("queue_unavailable", "uncertain"))
            wait_until(lambda: ready(host) == 503, SECONDS, "it to say that it is not ready")
            asked = time.monotonic()
            self.assertEqual(refused().json["code"], "queue_unavailable")
            self.assertLess(time.monotonic() - asked, 10, "it is known by now")
            last = self.wait_for_a_pause(server, killed)
            print(f"the last mail came {last:.1f} s after Kafka was killed", flush=True)
            self.assertLess(last, LEASE_SECONDS + 3)
            self.assertLess(len(server.complete()), len(accepted), "it was not for want of mails")
            self.assertEqual(get(host.api, f"/v1/emails/{first}").json["status"], "sent", "what is known is told")
            self.broker.start_again()
            self.check_end(host, server, accepted, maybe)


class StatusTopic(OwnKafka, e2e.TestCase):
    SETTINGS = WITH_ACLS

    def test_it_cannot_be_written(self):
        with SlowServer() as server:
            host = self.postbus(self.write_config(self.queue()), environment=server.environment)
            host.start()
            status = f"{self.kafka.prefix}-status"
            deny_writes(self.kafka.bootstrap, status)
            wait_until(lambda: self.is_closed(status), SECONDS, "the topic to be closed")
            sent = [post(host.api, NOTICE).json["id"] for _ in range(50)]
            wait_until(lambda: set(sent) <= set(server.complete()), SECONDS, "the mails, all the same")
            done = len(sent)
            wait_until(lambda: host.metric("postbus_queue_completed_total") == done, SECONDS, "their turns to be over")
            # What ends without a mail must be told: it waits, also over a kill -9.
            dead = e2e.new_id()
            self.kafka.produce([{"message": {**NOTICE, "id": dead, "template": "no-such-template"}}])
            wait_until(self.kafka.dead_letters, SECONDS, "its dead letter")
            for id in (sent[0], dead):
                answer = get(host.api, f"/v1/emails/{id}")
                self.assertNotIn(answer.status == 200 and answer.json["last_event"], ("sent", "dead_lettered"), answer.body)
            self.assertEqual(host.metric("postbus_queue_completed_total"), done)
            host.kill()
            host.start()
            wait_until(lambda: len(self.kafka.dead_letters()) == 2, SECONDS, "its turn to begin again")

            allow_writes(self.kafka.bootstrap, status)
            wait_until(lambda: self.last_event(host, dead) == "dead_lettered", SECONDS, "its status")
            self.assertEqual(host.stop(), 0)
            self.assert_each_once(server.complete(), set(sent))

    def is_closed(self, topic: str) -> bool:
        """Whether Kafka refuses a record; the ones it took meanwhile are no status records and mean nothing."""
        command = ["kcat", "-b", self.kafka.bootstrap, "-P", "-t", topic, "-X", "acks=all", "-X", "message.timeout.ms=1000"]
        return subprocess.run(command, input=b"x", capture_output=True, timeout=SECONDS).returncode != 0

    @staticmethod
    def last_event(host, id: str) -> str:
        answer = get(host.api, f"/v1/emails/{id}")
        return answer.json["last_event"] if answer.status == 200 else ""


class DiskFull(e2e.OnKafka, e2e.TestCase):
    """state_dir is on a file system of its own, of which nothing is left."""

    SIZE = 96  # MiB

    def setUp(self):
        super().setUp()
        if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode != 0:
            self.skipTest("no file system can be mounted here")

    def test_mails_go_on(self):
        state = self.directory / "small"
        state.mkdir()
        mount = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size={self.SIZE}m tmpfs "$0" && exec "$@"', str(state)]
        with SlowServer() as server:
            other = self.postbus(self.write_config(self.queue(), name="other.yaml"), role="host",
                                 environment=server.environment, log=self.directory / "other.log")  # fmt: skip
            other.start()
            host = self.postbus(self.write_config(self.queue(), state_dir=str(state)), environment=server.environment, wrapper=mount)
            host.start()
            owned = lambda: host.metric("postbus_queue_assigned_partitions")  # noqa: E731
            wait_until(lambda: 0 < owned() < 72, SECONDS, "partitions for both")
            before = post(host.api, NOTICE).json["id"]
            wait_until(lambda: get(host.api, f"/v1/emails/{before}").json["status"] == "sent", SECONDS, "its status")

            ballast = pathlib.Path(f"/proc/{host.pid}/root{state}/ballast")
            fill = lambda: self.fill(ballast)  # noqa: E731
            fill()
            self.assertEqual(self.run_postbus("drain", "-c", self.directory / "other.yaml", "--leave",
                                              f"--set=admin.listen={other.admin.removeprefix('http://')}",
                                              env=self.environment(server)).returncode, 0)  # fmt: skip
            wait_until(lambda: owned() == 72, SECONDS, "all partitions")
            fill()
            host.wait_for_log("finds no room on the disk.*without it a mail under way at a kill -9 may go again", SECONDS)
            sent = [post(host.api, NOTICE).json["id"] for _ in range(200)]
            wait_until(lambda: set(sent) <= set(server.complete()), SECONDS, "every mail")
            self.assertEqual(get(host.api, f"/v1/emails/{before}").json["status"], "sent", "what is in the file is told")
            host.wait_for_log("full", SECONDS)
            self.assertEqual(get(host.api, f"/v1/emails/{sent[-1]}").json["last_event"], "queued", "the last that it knows")

            ballast.unlink()
            for id in sent:
                wait_until(lambda: get(host.api, f"/v1/emails/{id}").json["status"] == "sent", SECONDS, "its status, now")
            self.assertEqual(host.stop(), 0)
            self.assert_each_once(server.complete(), {before, *sent})

    @staticmethod
    def fill(file: pathlib.Path) -> None:
        with open(file, "ab", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        ballast.write(b"x" * size)


if __name__ == "__main__":
    e2e.main()
