"""postbus drain: a host is ended from outside, and with --leave the others have its partitions at once."""

import threading
import time
import urllib.parse

import e2e
from gated_server import GatedServer
from postbus_process import Client, get, post, wait_until

EXIT_UNAVAILABLE = 69
SECONDS = 120
PARTITIONS = 3 * 24
# How long the partitions of a member that does not say goodbye stay nobody's: its session is 10 s, a heartbeat's age less.
SESSION_SECONDS = 9
NOTICE = {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}


class Drain(e2e.TestCase):
    def drain(self, host, config, server, *options, code: int = 0) -> str:
        admin = urllib.parse.urlsplit(host.admin).netloc
        done = self.run_postbus("drain", "-c", config, "--set", f"admin.listen={admin}", *options, env=self.environment(server))
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr if code else done.stdout


class OnSqlite(e2e.OnSqlite, Drain):
    def test_what_is_under_way_is_finished(self):
        with GatedServer() as server:
            config = self.write_config(self.queue())
            host = self.postbus(config, environment=server.environment)
            host.start()
            server.gate.clear()
            id = post(host.api, NOTICE).json["id"]
            wait_until(server.complete, SECONDS, "the mail under way")
            said = []
            asking = threading.Thread(target=lambda: said.append(self.drain(host, config, server)))
            asking.start()
            host.wait_for_log("stopping", SECONDS)
            self.assertTrue(asking.is_alive(), "it waits for the end")
            server.gate.set()
            self.assertEqual(host.wait(), 0)
            asking.join()
            self.assertEqual(said, ["draining; it ends when its mails are done\nit has ended\n"])
            self.assertEqual(server.answered(), [id])
            self.assertIn("nothing was left unfinished", host.output())
            self.assertIn("is the host running?", self.drain(host, config, server, code=EXIT_UNAVAILABLE))

    def test_what_is_refused(self):
        host = self.postbus(self.write_config(self.queue(), "{ plugin: file, options: { directory: files } }"))
        host.start()
        json_type = {"Content-Type": "application/json"}
        with Client(host.admin) as client:
            for body, headers, status in (
                (b"{}", {}, 415),  # as a page in somebody's browser could
                (b'{"leave": 1}', json_type, 400),
                (b'{"leaf": true}', json_type, 400),
                (b"", json_type, 400),
            ):
                self.assertEqual(client.request("POST", "/-/drain", body, headers).status, status, body)
            self.assertEqual(client.request("GET", "/-/drain").status, 405)
        self.assertEqual(get(host.admin, "/livez").status, 200)
        self.assertEqual(host.stop(), 0)


class OnKafka(e2e.OnKafka, Drain):
    def test_the_others_take_over_at_once(self):
        sink = self.sink()
        configs = [self.write_config(self.queue(), name=f"{n}.yaml", state_dir=f"state-{n}") for n in range(4)]
        processes = [
            self.postbus(config, role="api" if n == 3 else "host", environment=sink.environment, log=self.directory / f"{n}.log")
            for n, config in enumerate(configs)
        ]
        for process in processes:
            process.start()
        hosts = processes[:3]

        def owned(of) -> list[float]:
            return [host.metric("postbus_queue_assigned_partitions") for host in of]

        wait_until(lambda: sum(owned(hosts)) == PARTITIONS and min(owned(hosts)) > 0, SECONDS, lambda: f"{owned(hosts)} partitions")
        accepted: list[str] = []
        feeding = threading.Event()
        feeding.set()

        def mails():
            while feeding.is_set():
                yield NOTICE
                time.sleep(0.001)

        feeder = threading.Thread(target=e2e.post_all, args=(processes[3].api, mails(), accepted))
        feeder.start()
        wait_until(lambda: sink.count() > 200, SECONDS, "the first mails")

        self.drain(hosts[0], configs[0], sink, "--leave")
        ended = time.monotonic()
        self.assertEqual(hosts[0].wait(), 0)
        wait_until(lambda: sum(owned(hosts[1:])) == PARTITIONS, SECONDS, "its partitions at the others")
        took = time.monotonic() - ended
        print(f"the others had all partitions {took:.2f} s after it had ended", flush=True)
        self.assertLess(took, SESSION_SECONDS / 2)
        self.assertIn("nothing was left unfinished", hosts[0].output())

        before = len(accepted)
        wait_until(lambda: len(accepted) > before + 500, SECONDS, "mails for all partitions")
        feeding.clear()
        feeder.join()
        wait_until(lambda: set(accepted) <= set(sink.ids()), SECONDS, "every mail")
        for process in processes[1:]:
            self.assertEqual(process.stop(), 0)
        self.assert_each_once(sink.ids(), set(accepted))

        hosts[0].start()  # it may come back
        processes[3].start()
        self.assertEqual(post(processes[3].api, NOTICE).status, 202)
        wait_until(lambda: len(sink.ids()) == len(accepted) + 1, SECONDS, "a mail from the one that came back")
        self.assertEqual((hosts[0].stop(), processes[3].stop()), (0, 0))


if __name__ == "__main__":
    e2e.main()
