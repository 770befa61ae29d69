#!/usr/bin/env python3
"""kafka_broker.py against a real Kafka: it serves, and nothing of it stays behind."""

import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kafka_broker  # noqa: E402

TOOL = [sys.executable, kafka_broker.__file__]


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def one_record_through(bootstrap: str, replicas: int = 1) -> bytes:
    kafka_broker.create_topic(bootstrap, "greetings", replicas=replicas)
    kcat = ["kcat", "-b", bootstrap, "-t", "greetings", "-X", "acks=all"]
    subprocess.run([*kcat, "-P"], input=b"hello", check=True, timeout=30)
    return subprocess.run([*kcat, "-C", "-e", "-q"], stdout=subprocess.PIPE, check=True, timeout=30).stdout


class KafkaBrokerTest(unittest.TestCase):
    def setUp(self):
        # Brokers make their directories in here, so that a leftover is seen.
        here = tempfile.TemporaryDirectory()
        self.addCleanup(here.cleanup)
        self.directory = pathlib.Path(here.name)
        self.state = self.directory / "state.json"
        self.environment = {**os.environ, "TMPDIR": here.name}
        for patch in (mock.patch.dict(os.environ, TMPDIR=here.name), mock.patch.object(tempfile, "tempdir", None)):
            patch.start()
            self.addCleanup(patch.stop)
        self.addCleanup(self.tool, "stop", "--state", self.state)

    def tool(self, *arguments, **options):
        return subprocess.run([*TOOL, *arguments], env=self.environment, timeout=200, **options)

    def start(self, *arguments) -> dict:
        self.tool("start", "--state", self.state, *arguments, check=True)
        daemon = json.loads(self.state.read_text())
        self.assertTrue(all(is_running(int(pid)) for pid in daemon["started"]))
        self.assertEqual(self.leftovers(), [pathlib.Path(daemon["dir"])])
        return daemon

    def leftovers(self) -> list[pathlib.Path]:
        return list(self.directory.glob(kafka_broker.DIRECTORY_PREFIX + "*"))

    def assert_ended(self, daemon: dict, within_seconds: float = 0):
        deadline = time.monotonic() + within_seconds
        pids = [int(pid) for pid in daemon["started"]]
        while time.monotonic() < deadline and any(map(is_running, pids)):
            time.sleep(0.05)
        self.assertEqual([pid for pid in pids if is_running(pid)], [])

    def assert_gone(self, daemon: dict, within_seconds: float = 0):
        self.assert_ended(daemon, within_seconds)
        self.assertFalse(pathlib.Path(daemon["dir"]).exists())

    def test_a_daemon_serves_until_it_is_stopped(self):
        daemon = self.start()
        self.assertEqual(one_record_through(daemon["bootstrap"]), b"hello\n")
        kafka_broker.delete_topics(daemon["bootstrap"], ["greetings", "nobody-made-this"])
        self.assertEqual(one_record_through(daemon["bootstrap"]), b"hello\n")  # made anew
        self.tool("stop", "--state", self.state, check=True)
        self.assert_gone(daemon)
        self.assertFalse(self.state.exists())
        self.tool("stop", "--state", self.state, check=True)

    def test_a_second_start_gives_an_empty_kafka(self):
        first = self.start()
        self.assertEqual(one_record_through(first["bootstrap"]), b"hello\n")
        second = self.start()
        self.assert_gone(first)
        self.assertEqual(one_record_through(second["bootstrap"]), b"hello\n")

    def test_a_forgotten_daemon_ends(self):
        daemon = self.start("--max-lifetime", "1")
        self.assert_gone(daemon, within_seconds=20)
        self.assertFalse(self.state.exists())

    def test_a_daemon_whose_state_file_is_removed_ends(self):
        daemon = self.start()
        self.state.unlink()
        self.assert_gone(daemon, within_seconds=20)

    def test_brokers_end_with_a_killed_supervisor(self):
        daemon = self.start()
        supervisor, *brokers = map(int, daemon["started"])
        self.assertEqual(brokers, daemon["pids"])
        os.kill(supervisor, signal.SIGKILL)
        self.assert_ended(daemon, within_seconds=5)
        self.tool("stop", "--state", self.state, check=True)
        self.assert_gone(daemon)

    def test_a_paused_broker_is_stopped(self):
        with kafka_broker.KafkaBroker() as kafka:
            (pid,) = kafka.pids
            os.kill(pid, signal.SIGSTOP)
        self.assertFalse(is_running(pid))
        self.assertEqual(self.leftovers(), [])

    def test_run_lends_a_broker_to_a_command(self):
        done = self.tool("run", "--", "sh", "-c", "kcat -L -b $KAFKA_BROKERS; exit 7", stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, 7)
        self.assertIn(b" 1 brokers:", done.stdout)
        self.assertEqual(self.leftovers(), [])

    def test_three_brokers_replicate(self):
        with kafka_broker.KafkaBroker(brokers=3) as kafka:
            pids = kafka.pids
            self.assertEqual(len(set(pids)), 3)
            self.assertEqual(one_record_through(kafka.bootstrap, replicas=3), b"hello\n")
            kafka.end_node(3)
            self.assertEqual([is_running(pid) for pid in pids], [True, True, False])
            kafka.start_node(3)
            pids = [*pids, *kafka.pids]
            self.assertEqual(len(set(pids)), 4)
        self.assertFalse(any(map(is_running, pids)))
        self.assertEqual(self.leftovers(), [])

    def test_a_taken_port_is_exchanged(self):
        free_ports = kafka_broker._free_ports
        with kafka_broker.socket.create_server(("127.0.0.1", 0)) as taken:
            answers = [[taken.getsockname()[1], *free_ports(1)], free_ports(2)]
            with mock.patch.object(kafka_broker, "_free_ports", side_effect=answers):
                with kafka_broker.KafkaBroker() as kafka:
                    self.assertEqual(kafka.bootstrap, f"127.0.0.1:{answers[1][0]}")
                    self.assertEqual(self.leftovers(), [kafka.directory])

    def test_a_failed_start_shows_the_log(self):
        with kafka_broker.socket.create_server(("127.0.0.1", 0)) as taken:
            ports = [taken.getsockname()[1], *kafka_broker._free_ports(1)]
            with mock.patch.object(kafka_broker, "_free_ports", return_value=ports):
                with self.assertRaisesRegex(kafka_broker.PortTaken, f"{ports[0]}: Address already in use"):
                    kafka_broker.KafkaBroker().start(attempts=1)
        self.assertEqual(self.leftovers(), [])

    def test_an_old_java_is_refused(self):
        java = self.directory / "java"
        java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_292\"' >&2\n")
        java.chmod(0o755)
        with mock.patch.dict(self.environment, PATH=f"{self.directory}:{os.environ['PATH']}"):
            done = self.tool("start", "--state", self.state, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, kafka_broker.EXIT_UNAVAILABLE)
        self.assertEqual(done.stderr, "kafka_broker: Kafka needs java 11 or later; the java on PATH is 1.8.0_292\n")
        self.assertFalse(self.state.exists())


class FetchTest(unittest.TestCase):
    def test_a_broken_download_is_not_kept(self):
        with tempfile.TemporaryDirectory() as cache:
            mvn = pathlib.Path(cache) / "mvn"
            mvn.write_text('#!/bin/sh -e\nfor last; do :; done\nmkdir "${last#*=}"\necho no network\nexit 1\n')
            mvn.chmod(0o755)
            environment = {"POSTBUS_CACHE": cache, "PATH": f"{cache}:{os.environ['PATH']}"}
            with mock.patch.dict(os.environ, environment), contextlib.redirect_stderr(io.StringIO()):
                for _ in range(2):
                    with self.assertRaisesRegex(kafka_broker.KafkaError, "no network"):
                        kafka_broker.fetch_jars()
            kept = [path for path in pathlib.Path(cache).glob("kafka-*") if path.suffix not in (".lock", ".partial")]
            self.assertEqual(kept, [])


if __name__ == "__main__":
    unittest.main()
