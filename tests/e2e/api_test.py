"""The HTTP API from outside: batches, Idempotency-Key, status, its OpenAPI document, and a thousand connections at once."""

import json
import re
import resource
import selectors
import shutil
import socket
import subprocess
import time
import urllib.parse

import e2e
from postbus_process import Client, SmtpSink, get, post, wait_until

CONNECTIONS = 1000


def notice(name: str) -> dict:
    return {"to": f"{name}@{e2e.DOMAIN}", "template": "notice"}


def post_with_key(url: str, mail, key: str, path: str = "/v1/emails"):
    with Client(url) as client:
        return client.post(mail, path, {"Idempotency-Key": key})


class Api(e2e.TestCase):
    def start(self, server: SmtpSink, role: str = "serve"):
        postbus = self.postbus(
            self.config, environment=server.environment, role=role, log=self.directory / f"{role}-{len(self.started)}.log"
        )
        postbus.start()
        self.started.append(postbus)
        return postbus

    def setUp(self):
        super().setUp()
        self.started = []
        self.config = self.write_config(self.queue())

    def await_status(self, url: str, id: str, status: str) -> dict:
        def as_wanted():
            answer = get(url, f"/v1/emails/{id}")
            return answer.json if answer.status == 200 and answer.json["status"] == status else None

        return wait_until(as_wanted, e2e.PATIENCE_SECONDS, lambda: f"{status}: {get(url, f'/v1/emails/{id}').body}")

    def check_a_batch_that_is_posted_twice_mails_once(self):
        sink = self.sink()
        postbus = self.start(sink)
        batch = [notice(f"user-{i}") for i in range(100)]
        answers = [post_with_key(postbus.api, batch, "batch-1", "/v1/emails/batch") for _ in range(3)]
        for answer in answers:
            self.assertEqual(answer.status, 202, answer.body)
            self.assertEqual(answer.json, answers[0].json)
        ids = [mail["id"] for mail in answers[0].json["data"]]
        self.assertEqual(len(set(ids)), 100)
        single = [post_with_key(postbus.api, notice("one"), "single-1") for _ in range(3)]
        self.assertEqual({answer.json["id"] for answer in single}, {single[0].json["id"]})
        other = post_with_key(postbus.api, notice("other"), "single-1")
        self.assertEqual((other.status, other.json["code"]), (422, "idempotency_key_reused"))

        expected = {*ids, single[0].json["id"]}
        wait_until(lambda: expected <= set(sink.ids()), e2e.PATIENCE_SECONDS, "all mails")
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(sink.ids(), expected)

    def check_one_invalid_mail_refuses_the_batch(self):
        sink = self.sink()
        postbus = self.start(sink)
        batch = [notice("good"), notice("good"), {"to": "no-at-sign", "tempalte": "notice"}, {**notice("x"), "template": "notise"}]
        answer = post(postbus.api, batch, "/v1/emails/batch")
        self.assertEqual(answer.status, 422, answer.body)
        errors = {error["pointer"]: error["detail"] for error in answer.json["errors"]}
        self.assertLessEqual({"/2/to", "/2/tempalte", "/3/template"}, set(errors))
        self.assertIn('did you mean "template"', errors["/2/tempalte"])
        self.assertIn('did you mean "notice"', errors["/3/template"])
        self.assertEqual(post(postbus.api, notice("after")).status, 202)
        wait_until(lambda: len(sink.ids()) == 1, e2e.PATIENCE_SECONDS, "the mail after")
        self.assertEqual(postbus.stop(), 0)
        self.assertEqual(len(sink.ids()), 1)

    def check_status_from_acceptance_to_the_end(self):
        sink = self.sink()
        api = self.start(sink, "api")
        id = post(api.api, {**notice("ada"), "to": [f"ada@{e2e.DOMAIN}", f"bob@{e2e.DOMAIN}"]}).json["id"]
        queued = get(api.api, f"/v1/emails/{id}").json
        self.assertEqual((queued["id"], queued["status"], queued["last_event"], queued["attempts"]), (id, "pending", "queued", 0))
        self.assertEqual(queued["history"][0]["recipients"], [0, 1])

        host = self.start(sink, "host")
        sent = self.await_status(api.api, id, "sent")
        self.assertEqual((sent["last_event"], sent["attempts"]), ("sent", 1))
        self.assertEqual([change["event"] for change in sent["history"]], ["queued", "sent"])
        self.assertEqual(sent["history"][1]["transport"], "primary")
        self.assertEqual(sent["history"][1]["code"], 250)
        self.assertNotIn(e2e.DOMAIN, json.dumps(sent))

        self.assertEqual(api.stop(), 0)
        self.assertEqual(host.stop(), 0)
        again = self.start(sink, "api")
        self.assertEqual(self.await_status(again.api, id, "sent")["history"], sent["history"])
        wait_until(lambda: get(again.api, "/v1/emails/never-seen").status == 404, e2e.PATIENCE_SECONDS, "404")
        self.assertEqual(again.stop(), 0)

    def check_a_mail_that_is_given_up_has_failed(self):
        if not SmtpSink.program():
            self.skipTest("smtp-sink is not there; it comes with Debian's package postfix")
        postbus = self.start(self.enterContext(SmtpSink(None, "-r", "RCPT")))
        id = post(postbus.api, {**notice("nobody"), "max_retries": -1}).json["id"]
        failed = self.await_status(postbus.api, id, "failed")
        self.assertEqual(failed["last_event"], "dead_lettered")
        self.assertEqual(failed["history"][-1]["outcome"], "transient")


class OnSqlite(e2e.OnSqlite, Api):
    def test_a_batch_that_is_posted_twice_mails_once(self):
        self.check_a_batch_that_is_posted_twice_mails_once()

    def test_one_invalid_mail_refuses_the_batch(self):
        self.check_one_invalid_mail_refuses_the_batch()

    def test_status_from_acceptance_to_the_end(self):
        self.check_status_from_acceptance_to_the_end()

    def test_a_mail_that_is_given_up_has_failed(self):
        self.check_a_mail_that_is_given_up_has_failed()

    def test_a_key_is_known_after_a_restart(self):
        sink = self.sink()
        first = self.start(sink)
        id = post_with_key(first.api, notice("ada"), "key-1").json["id"]
        wait_until(lambda: id in sink.ids(), e2e.PATIENCE_SECONDS, "the mail")
        first.kill()
        second = self.start(sink)
        self.assertEqual(post_with_key(second.api, notice("ada"), "key-1").json["id"], id)
        self.assertEqual(post_with_key(second.api, notice("eve"), "key-1").status, 422)
        after = post(second.api, notice("after")).json["id"]
        wait_until(lambda: after in sink.ids(), e2e.PATIENCE_SECONDS, "the mail after")
        self.assertEqual(second.stop(), 0)
        # Killed between the mail and the commit of its turn, the host may have sent the first one again.
        self.assertEqual(set(sink.ids()), {id, after})

    def test_the_examples_of_the_openapi_document_are_accepted(self):
        postbus = self.start(self.sink())
        document = get(postbus.api, "/openapi.json").json
        posted = 0
        for path, operations in document["paths"].items():
            content = operations.get("post", {}).get("requestBody", {}).get("content", {})
            for name, example in content.get("application/json", {}).get("examples", {}).items():
                answer = post(postbus.api, example["value"], path)
                self.assertEqual(answer.status, 202, f"{path} {name}: {answer.body}")
                posted += 1
        self.assertGreaterEqual(posted, 4)


    def test_the_commands_of_the_documentation(self):
        if not shutil.which("curl"):
            self.skipTest("curl is not there; it is a Debian package of that name")
        postbus = self.start(self.sink())
        text = (e2e.ROOT / "docs" / "http-api.md").read_text()
        commands = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(commands), 5)
        id = ""
        for command in commands:
            if "/ID/cancel" in command:  # of a mail that is not sent meanwhile
                later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
                id = post(postbus.api, {**notice("ada"), "scheduled_at": later}).json["id"]
            command = command.replace("http://127.0.0.1:8080", postbus.api).replace("/ID", f"/{id}")
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=e2e.PATIENCE_SECONDS)
            self.assertEqual(done.returncode, 0, done.stderr)
            if " -i " in command:
                self.assertIn(" 202 ", done.stdout.splitlines()[0], done.stdout)
                id = re.search(r'"id":"([^"]+)"', done.stdout)[1]
        self.assertEqual(json.loads(done.stdout)["id"], id)
        self.assertEqual(json.loads(done.stdout)["history"][0]["event"], "queued")


class OnKafka(e2e.OnKafka, Api):
    def test_a_batch_that_is_posted_twice_mails_once(self):
        self.check_a_batch_that_is_posted_twice_mails_once()

    def test_status_from_acceptance_to_the_end(self):
        self.check_status_from_acceptance_to_the_end()

    def test_a_mail_that_is_given_up_has_failed(self):
        self.check_a_mail_that_is_given_up_has_failed()


class ManyConnections(e2e.OnSqlite, Api):
    def setUp(self):
        super().setUp()
        self.config = self.write_config(self.queue(), transport='{ plugin: "null" }')
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < CONNECTIONS + 100:
            self.skipTest(f"at most {hard} descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS + 100, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        # The server starts with the usual soft limit and must raise it itself.
        self.wrapper = ["prlimit", f"--nofile=1024:{hard}"]

    def test_a_thousand_connections_at_once(self):
        postbus = self.postbus(self.config, wrapper=self.wrapper)
        postbus.start()
        address = urllib.parse.urlsplit(postbus.api)
        connections = [socket.create_connection((address.hostname, address.port), 60) for _ in range(CONNECTIONS)]
        for connection in connections:
            self.addCleanup(connection.close)
        # A mail of 100 kB each, in two pieces: first all are half there, then all are whole.
        ids = set()
        bodies = []
        for i in range(CONNECTIONS):
            bodies.append(json.dumps({**notice(f"user-{i}"), "data": {"Note": "x" * 100_000}}).encode())
        for connection, body in zip(connections, bodies):
            head = f"POST /v1/emails HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[: len(body) // 2])
        with open(f"/proc/{postbus.pid}/status") as status:
            peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1])
        self.assertLess(peak, 1_000_000, "kB of memory")
        for connection, body in zip(connections, bodies):
            connection.sendall(body[len(body) // 2 :])
        with selectors.DefaultSelector() as selector:
            for connection in connections:
                selector.register(connection, selectors.EVENT_READ)
            deadline = time.monotonic() + e2e.PATIENCE_SECONDS
            while selector.get_map() and time.monotonic() < deadline:
                for key, _ in selector.select(1):
                    answer = key.fileobj.recv(65536)
                    self.assertTrue(answer.startswith(b"HTTP/1.1 202 "), answer)
                    ids.add(json.loads(answer.partition(b"\r\n\r\n")[2])["id"])
                    selector.unregister(key.fileobj)
        self.assertEqual(len(ids), CONNECTIONS)
        # All are still open, and yet there is room.
        self.assertEqual(post(postbus.api, notice("one-more")).status, 202)
        wait_until(lambda: postbus.metric("postbus_queue_completed_total") == CONNECTIONS + 1, e2e.PATIENCE_SECONDS,
                   "the end of all turns")  # fmt: skip
        self.assertEqual(postbus.stop(), 0)


if __name__ == "__main__":
    e2e.main()
