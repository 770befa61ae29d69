"""Mails that are for later, or worth nothing after a time: scheduled_at and expires_at, judged by what a server got and when."""

import datetime
import email
import email.policy
import json
import re
import time

import e2e
from postbus_process import get, post, wait_until
from recording_smtp_server import RecordingSmtpServer


def rfc3339(unix: float) -> str:
    return datetime.datetime.fromtimestamp(unix, datetime.timezone.utc).isoformat(timespec="milliseconds")


class TimedServer(RecordingSmtpServer):
    """Knows when each final dot came."""

    def __init__(self):
        super().__init__()
        self.arrivals: list[tuple[str, float, bytes]] = []  # email id, time, mail

    def reply_to(self, data: bytes) -> bytes:
        id = re.search(rb"^Message-ID:\s*<([^@>]+)@", data, re.MULTILINE)[1].decode()
        self.arrivals.append((id, time.time(), data))
        return super().reply_to(data)


class Schedule(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(TimedServer())
        self.config = self.write_config(self.queue())

    def start(self, role: str = "serve"):
        postbus = self.postbus(self.config, environment=self.server.environment, role=role, log=self.directory / f"{role}.log")
        postbus.start()
        return postbus

    def post(self, postbus, **fields) -> str:
        answer = post(postbus.api, {"to": f"ada@{e2e.DOMAIN}", "template": "notice", **fields})
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json["id"]

    def await_event(self, postbus, id: str, event: str) -> dict:
        def as_wanted():
            answer = get(postbus.api, f"/v1/emails/{id}")
            return answer.json if answer.status == 200 and answer.json["last_event"] == event else None

        return wait_until(as_wanted, e2e.PATIENCE_SECONDS, lambda: f"{event}: {get(postbus.api, f'/v1/emails/{id}').body}")

    def check_a_scheduled_mail_comes_at_its_time(self):
        postbus = self.start()
        due = round(time.time() + 7, 3)
        id = self.post(postbus, scheduled_at=rfc3339(due))
        at_once = self.post(postbus, scheduled_at=rfc3339(time.time() - 60))
        waiting = self.await_event(postbus, id, "scheduled")
        self.assertEqual((waiting["status"], waiting["attempts"]), ("pending", 0))
        self.assertEqual(waiting["history"][-1]["due"], rfc3339(due).replace("+00:00", "Z"))

        sent = self.await_event(postbus, id, "sent")
        self.assertEqual([change["event"] for change in sent["history"]], ["queued", "scheduled", "sent"])
        self.assertEqual((sent["status"], sent["attempts"]), ("sent", 1))
        arrived = {arrival[0]: arrival for arrival in self.server.arrivals}
        self.assertEqual((set(arrived), len(self.server.arrivals)), ({id, at_once}, 2))
        self.assertGreaterEqual(arrived[id][1], due, "early")
        print(f"{arrived[id][1] - due:.3f} s after its time", flush=True)
        mail = email.message_from_bytes(arrived[id][2], policy=email.policy.default)
        self.assertEqual(mail["Date"].datetime.timestamp(), int(due))
        self.assertEqual(postbus.stop(), 0)

    def check_a_mail_whose_time_is_over_is_not_sent(self):
        api = self.start("api")
        expired = self.post(api, expires_at=rfc3339(time.time() + 1))
        kept = self.post(api, expires_at=rfc3339(time.time() + 3600))
        over = time.time() + 1.1
        wait_until(lambda: time.time() > over, 30, "a second to pass")
        host = self.start("host")
        failed = self.await_event(api, expired, "expired")
        self.assertEqual((failed["status"], failed["attempts"]), ("failed", 0))
        self.await_event(api, kept, "sent")
        self.assertEqual(host.stop(), 0)
        self.assertEqual(api.stop(), 0)
        self.assertEqual([arrival[0] for arrival in self.server.arrivals], [kept])


class OnSqlite(e2e.OnSqlite, Schedule):
    def test_a_scheduled_mail_comes_at_its_time(self):
        self.check_a_scheduled_mail_comes_at_its_time()

    def test_a_mail_whose_time_is_over_is_not_sent(self):
        self.check_a_mail_whose_time_is_over_is_not_sent()

    def test_a_dry_run_shows_the_mail_of_then(self):
        mail = {"to": f"ada@{e2e.DOMAIN}", "subject": "S", "text": "T", "scheduled_at": rfc3339(time.time() + 86400)}
        shown = self.run_postbus("send", "-c", self.config, "--dry-run", "--message", json.dumps(mail),
                                 env=self.environment(self.server))  # fmt: skip
        self.assertEqual(shown.returncode, 0, shown.stderr)
        date = email.message_from_string(shown.stdout, policy=email.policy.default)["Date"].datetime
        self.assertEqual(rfc3339(date.timestamp())[:19], mail["scheduled_at"][:19])

    def test_what_nothing_is_kept_for_is_refused(self):
        postbus = self.start()
        mail = {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}
        for field, value in (("scheduled_at", rfc3339(time.time() + 400 * 86400)), ("scheduled_at", "tomorrow"), ("expires_at", 5)):
            answer = post(postbus.api, {**mail, field: value})
            self.assertEqual(answer.status, 422, answer.body)
            self.assertEqual(answer.json["errors"][0]["pointer"], f"/{field}")
        self.assertEqual(postbus.stop(), 0)


class OnKafka(e2e.OnKafka, Schedule):
    def test_a_scheduled_mail_comes_at_its_time(self):
        self.check_a_scheduled_mail_comes_at_its_time()

    def test_a_mail_whose_time_is_over_is_not_sent(self):
        self.check_a_mail_whose_time_is_over_is_not_sent()


if __name__ == "__main__":
    e2e.main()
