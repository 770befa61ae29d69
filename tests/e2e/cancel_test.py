"""Mails that are taken back: POST /v1/emails/{id}/cancel, judged by the ids a server got."""

import concurrent.futures
import random
import time

import e2e
from postbus_process import Client, get, post, wait_until
from schedule_test import TimedServer, rfc3339

MANY = 300


class MoodyServer(TimedServer):
    """Hangs up on everybody while `down`; takes a moment for each mail otherwise."""

    def __init__(self):
        super().__init__()
        self.down = False

    def _talk(self, read, write, session) -> None:
        if not self.down:
            super()._talk(read, write, session)

    def reply_to(self, data: bytes) -> bytes:
        time.sleep(random.uniform(0, 0.01))
        return super().reply_to(data)

    def ids(self) -> list[str]:
        return [arrival[0] for arrival in self.arrivals]


class Cancel(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(MoodyServer())
        self.config = self.write_config(self.queue())

    def start(self, role: str = "serve"):
        postbus = self.postbus(self.config, environment=self.server.environment, role=role, log=self.directory / f"{role}.log")
        postbus.start()
        return postbus

    def post(self, postbus, **fields) -> str:
        answer = post(postbus.api, {"to": f"ada@{e2e.DOMAIN}", "template": "notice", **fields})
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json["id"]

    def cancel(self, postbus, id: str, status: int = 202) -> dict:
        with Client(postbus.api) as client:
            answer = client.request("POST", f"/v1/emails/{id}/cancel")
        self.assertEqual(answer.status, status, answer.body)
        if status == 202:
            self.assertEqual(answer.json, {"id": id, "status": "cancel_requested"})
            self.assertEqual(answer.headers["Location"], f"/v1/emails/{id}")
        return answer.json

    def await_event(self, postbus, id: str, event: str) -> dict:
        def as_wanted():
            answer = get(postbus.api, f"/v1/emails/{id}")
            return answer.json if answer.status == 200 and answer.json["last_event"] == event else None

        return wait_until(as_wanted, e2e.PATIENCE_SECONDS, lambda: f"{event}: {get(postbus.api, f'/v1/emails/{id}').body}")

    def check_a_scheduled_mail_is_cancelled_before_its_time(self):
        postbus = self.start()
        due = time.time() + 8
        cancelled = self.post(postbus, scheduled_at=rfc3339(due))
        kept = self.post(postbus, scheduled_at=rfc3339(due + 1))
        for id in (cancelled, kept):
            self.await_event(postbus, id, "scheduled")
        for _ in range(2):  # again: the same
            self.cancel(postbus, cancelled)
        if self.ends_at_once:
            self.assertEqual(get(postbus.api, f"/v1/emails/{cancelled}").json["last_event"], "cancelled")
        postbus.kill()
        postbus.start()
        ended = self.await_event(postbus, cancelled, "cancelled")
        self.assertEqual((ended["status"], ended["attempts"]), ("failed", 0))
        self.assertEqual([change["event"] for change in ended["history"]], ["queued", "scheduled", "cancelled"])
        self.await_event(postbus, kept, "sent")
        self.cancel(postbus, cancelled)
        self.assertEqual(postbus.stop(), 0)
        self.assertEqual(self.server.ids(), [kept])

    def check_a_mail_for_much_later_is_cancelled_at_once(self):
        postbus = self.start()
        id = self.post(postbus, scheduled_at=rfc3339(time.time() + 3600))
        self.await_event(postbus, id, "scheduled")
        self.cancel(postbus, id)
        self.await_event(postbus, id, "cancelled")
        if not self.ends_at_once:  # foreseen by whoever has read the topic; a command has not yet
            self.assertEqual(postbus.stop(), 0)
            return
        shown = self.run_postbus("status", "-c", self.config, id, env=self.environment(self.server))
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertEqual(shown.stdout.splitlines()[0], f"{id}: failed")
        self.assertIn(" cancelled recipient 0", shown.stdout.splitlines()[-1])
        self.assertEqual(postbus.stop(), 0)

    def check_nobody_is_there_when_it_is_cancelled(self):
        """The API alone takes the cancellation; a host that starts later knows it before it sends anything."""
        api = self.start("api")
        cancelled = [self.post(api) for _ in range(3)]
        for id in cancelled:
            self.cancel(api, id)
        kept = [self.post(api) for _ in range(3)]
        host = self.start("host")
        for id in cancelled:
            self.await_event(api, id, "cancelled")
        for id in kept:
            self.await_event(api, id, "sent")
        self.assertEqual(host.metric("postbus_emails_unsent_total"), 3)
        self.assertEqual(host.stop(), 0)
        self.assertEqual(api.stop(), 0)
        self.assert_each_once(self.server.ids(), set(kept))

    def check_a_mail_that_waits_for_its_server_is_cancelled(self):
        self.server.down = True
        postbus = self.start()
        mails = [self.post(postbus) for _ in range(5)]
        metric = 'postbus_transport_breaker_open{transport="primary"}'
        wait_until(lambda: f"{metric} 1" in get(postbus.admin, "/metrics").body.decode(), e2e.PATIENCE_SECONDS, metric)
        for id in mails[:4]:
            self.cancel(postbus, id)
            self.await_event(postbus, id, "cancelled")
        self.assertEqual(get(postbus.api, f"/v1/emails/{mails[4]}").json["status"], "pending")
        self.server.down = False
        self.await_event(postbus, mails[4], "sent")
        self.assertEqual(postbus.stop(), 0)
        self.assertEqual(self.server.ids(), [mails[4]])

    def check_what_is_over_or_unknown(self):
        postbus = self.start()
        sent = self.post(postbus)
        self.await_event(postbus, sent, "sent")
        problem = self.cancel(postbus, sent, 409)
        self.assertEqual((problem["code"], problem["title"]), ("email_is_over", "Conflict"))
        self.assertEqual(get(postbus.api, f"/v1/emails/{sent}").json["last_event"], "sent")
        self.cancel(postbus, "nobody-knows-it", self.unknown)
        self.cancel(postbus, "no%20id", 404)
        self.assertEqual(postbus.stop(), 0)
        self.assertEqual(self.server.ids(), [sent])

    @staticmethod
    def ends(postbus, id: str) -> list[str]:
        """What it ended as, once it has."""
        status = lambda: get(postbus.api, f"/v1/emails/{id}")  # noqa: E731
        wait_until(lambda: status().json["status"] != "pending", e2e.PATIENCE_SECONDS, lambda: status().body)
        return [change["event"] for change in status().json["history"] if change["event"] in ("sent", "cancelled")]

    def check_sending_and_cancelling_at_the_same_time(self):
        """Sent or cancelled, never both, never neither: by what the server got."""
        seed = random.randrange(1 << 32)
        print(f"seed {seed}", flush=True)
        waits = random.Random(seed)
        postbus = self.start()

        def post_and_cancel(wait: float) -> str:
            with Client(postbus.api) as client:
                id = client.post({"to": f"ada@{e2e.DOMAIN}", "template": "notice"}).json["id"]
                time.sleep(wait)
                answer = client.request("POST", f"/v1/emails/{id}/cancel")
                self.assertIn(answer.status, (202, 409), answer.body)
                return id

        sent: set[str] = set()
        cancelled: set[str] = set()
        longest = 0.05  # until it is a race: how long a mail takes depends on the machine
        for rounds in range(1, 11):
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                ids = list(pool.map(post_and_cancel, [waits.uniform(0, longest) for _ in range(MANY // 3)]))
            ends = {id: self.ends(postbus, id) for id in ids}
            sent_now = {id for id, end in ends.items() if end == ["sent"]}
            cancelled_now = {id for id, end in ends.items() if end == ["cancelled"]}
            self.assertEqual(sent_now | cancelled_now, set(ids), "both, or neither")
            sent |= sent_now
            cancelled |= cancelled_now
            if rounds >= 3 and sent and cancelled:
                break
            longest *= 3 if not sent_now else 1 / 3 if not cancelled_now else 1
        print(f"{len(sent)} sent, {len(cancelled)} cancelled, {longest:.3f} s", flush=True)
        self.assertTrue(sent and cancelled, "it was no race")
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(self.server.ids(), sent)


class OnSqlite(e2e.OnSqlite, Cancel):
    ends_at_once = True
    unknown = 404

    def test_a_scheduled_mail_is_cancelled_before_its_time(self):
        self.check_a_scheduled_mail_is_cancelled_before_its_time()

    def test_a_mail_for_much_later_is_cancelled_at_once(self):
        self.check_a_mail_for_much_later_is_cancelled_at_once()

    def test_nobody_is_there_when_it_is_cancelled(self):
        self.check_nobody_is_there_when_it_is_cancelled()

    def test_a_mail_that_waits_for_its_server_is_cancelled(self):
        self.check_a_mail_that_waits_for_its_server_is_cancelled()

    def test_what_is_over_or_unknown(self):
        self.check_what_is_over_or_unknown()

    def test_sending_and_cancelling_at_the_same_time(self):
        self.check_sending_and_cancelling_at_the_same_time()


class OnKafka(e2e.OnKafka, Cancel):
    ends_at_once = False
    unknown = 202  # another process may have accepted it

    def test_a_scheduled_mail_is_cancelled_before_its_time(self):
        self.check_a_scheduled_mail_is_cancelled_before_its_time()

    def test_a_mail_for_much_later_is_cancelled_at_once(self):
        self.check_a_mail_for_much_later_is_cancelled_at_once()

    def test_nobody_is_there_when_it_is_cancelled(self):
        self.check_nobody_is_there_when_it_is_cancelled()

    def test_a_mail_that_waits_for_its_server_is_cancelled(self):
        self.check_a_mail_that_waits_for_its_server_is_cancelled()

    def test_what_is_over_or_unknown(self):
        self.check_what_is_over_or_unknown()

    def test_sending_and_cancelling_at_the_same_time(self):
        self.check_sending_and_cancelling_at_the_same_time()


if __name__ == "__main__":
    e2e.main()
