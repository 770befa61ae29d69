"""One Idempotency-Key through several API processes, across kill -9 of a host and a change of hosts: one mail an email, by id."""

import threading

import e2e
from postbus_process import Client, wait_until

KEYS = 100
SECONDS = 120


class OnKafka(e2e.OnKafka, e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.sink()
        self.config = self.write_config(self.queue())
        self.hosts = []
        self.ids = set()
        self.posted_again = 0

    def start(self, role: str, name: str):
        """Each has a state of its own, and knows of no other."""
        process = self.postbus(
            self.config,
            role=role,
            environment=self.server.environment,
            settings={"state_dir": str(self.directory / name)},
            log=self.directory / f"{name}.log",
        )
        process.start()
        if role == "host":
            self.hosts.append(process)
        return process

    def post_all(self, api) -> None:
        with Client(api.api) as client:
            for i in range(KEYS):
                answer = client.post(
                    {"to": f"user-{i}@{e2e.DOMAIN}", "template": "notice"}, headers={"Idempotency-Key": f"key-{i}"}
                )
                self.assertEqual(answer.status, 202, answer.body)
                self.ids.add(answer.json["id"])

    def await_all_done(self) -> None:
        """What was posted again was seen by a host and not sent, and all else was sent: once."""

        def dropped() -> int:
            return sum(host.log.read_text().count("not sent again") for host in {host.log: host for host in self.hosts}.values())

        wait_until(lambda: dropped() >= self.posted_again, SECONDS, lambda: f"{dropped()} of {self.posted_again} known again")
        wait_until(lambda: self.ids <= set(self.server.ids()), SECONDS, "all mails")
        self.assertEqual(dropped(), self.posted_again)
        self.assertEqual(len(self.ids), KEYS)
        self.assert_each_once(self.server.ids(), self.ids)

    def test_one_mail_a_key(self):
        first = self.start("host", "host-1")
        apis = [self.start("api", f"api-{i}") for i in range(2)]
        threads = [threading.Thread(target=self.post_all, args=(api,)) for api in apis]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.posted_again += KEYS
        self.await_all_done()

        first.kill()
        apis[0].stop()
        apis[0].start()  # it has forgotten which keys it took
        self.post_all(apis[0])
        self.posted_again += KEYS
        first.start()
        self.await_all_done()

        second = self.start("host", "host-2")
        wait_until(lambda: second.metric("postbus_queue_assigned_partitions") > 0, SECONDS, "partitions for the second host")
        apis[1].stop()
        apis[1].start()
        self.post_all(apis[1])
        self.posted_again += KEYS
        self.await_all_done()

        self.assertEqual(first.stop(), 0)  # the second one gets its partitions and has never seen their events
        apis[0].stop()
        apis[0].start()
        self.post_all(apis[0])
        self.posted_again += KEYS
        self.await_all_done()
        self.assertEqual(second.stop(), 0)


if __name__ == "__main__":
    e2e.main()
