"""A foreign producer knows one topic and writes events of every priority into it."""

import collections
import json
import re
import subprocess

import e2e
from gated_server import GatedServer
from postbus_process import get, wait_until

SECONDS = 120
PARTITION = 5


class Server(GatedServer):
    """Puts off each mail of `try_again` once."""

    def __init__(self):
        super().__init__()
        self.try_again: set[str] = set()

    def reply_to(self, data: bytes) -> bytes:
        reply = super().reply_to(data)
        id = re.search(rb"(?im)^Message-ID:\s*<([^@>]+)@", data)[1].decode()
        if id in self.try_again:
            self.try_again.remove(id)
            return b"451 4.3.0 later"
        return reply


def event(priority: str, number: int, **fields) -> dict:
    to = f"{priority}-{number}@{e2e.DOMAIN}"
    return {"type": "shop", "message": {"id": e2e.new_id(), "to": to, "template": "notice", "priority": priority, **fields}}


class ForeignProducer(e2e.OnKafka, e2e.TestCase):
    def start(self, server, events: list[dict], **top):
        """Of a host that finds them all in one partition."""
        config = self.write_config(self.queue(), retry="{ backoff: [1s], max_retries: 5 }", **top)
        created = self.run_postbus("topics", "create", "-c", config, env=self.environment(server))
        self.assertEqual(created.returncode, 0, created.stderr)
        self.kafka.produce(events, partition=PARTITION)
        postbus = self.postbus(config, environment=server.environment)
        postbus.start()
        return postbus

    def records(self, topic: str) -> list[dict]:
        """Each with key, payload, headers."""
        command = ["kcat", "-b", self.kafka.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual(done.returncode, 0, done.stderr)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        for each in records:
            headers = each.get("headers", [])
            each["headers"] = dict(zip(headers[::2], headers[1::2]))
        return records

    def test_low_ones_wait_with_the_low_ones(self):
        events = [event(("high", "normal", "low")[i % 3], i) for i in range(300)]
        low = [each for each in events if each["message"]["priority"] == "low"]
        low[0]["message"]["to"] = [f"low-a@{e2e.DOMAIN}", f"low-b@{e2e.DOMAIN}"]
        retried = low[1]["message"]["id"]
        del low[2]["message"]["id"]  # named after its place in the topic where it came
        with Server() as server:
            server.try_again.add(retried)
            postbus = self.start(server, [{**each, "message": {"id": "", **each["message"]}} for each in events])
            unnamed = f"{self.kafka.topic}.{PARTITION}.{events.index(low[2])}"
            expected = {each["message"].get("id", unnamed) for each in events}
            copies = collections.Counter({id: 2 if id == retried else 1 for id in expected})
            wait_until(lambda: not copies - collections.Counter(server.complete()), SECONDS, "every mail")
            wait_until(lambda: postbus.metric("postbus_queue_waiting") + postbus.metric("postbus_queue_delayed") == 0, SECONDS, "the end")

            # The retry came back to where the event had come from, and was handed on once more.
            self.assertEqual(postbus.metric("postbus_emails_forwarded_total"), len(low) + 1)
            for id in (low[0]["message"]["id"], retried, unnamed):
                status = wait_until(lambda: self.sent(postbus, id), SECONDS, f"the status of {id}")
                changes = [change["event"] for change in status["history"]]
                self.assertEqual(changes, ["deferred", "sent"] if id == retried else ["sent"])
            self.assertEqual(postbus.stop(), 0)
            self.assertEqual(collections.Counter(server.complete()), copies)
            recipients = [c for session in server.sessions() for c in session.commands if c.upper().startswith(b"RCPT")]
            self.assertEqual(len(recipients), len(events) + 2, "each as often as it should, none twice")

        self.assertEqual(self.kafka.dead_letters(), [])
        records = self.records(self.kafka.topic + "-low")
        self.assertEqual(len(records), len(low) + 1)
        written = {each["payload"]: each for each in self.records(self.kafka.topic)}
        forwarded = [each for each in records if "postbus-attempt" not in each["headers"]]
        self.assertEqual(len(forwarded), len(low))
        for each in forwarded:
            self.assertEqual(each["key"], written[each["payload"]]["key"])
            self.assertEqual(each["headers"].keys(), {"postbus-fmt", "postbus-accepted-at", "postbus-origin"})
        offsets = sorted(each["headers"]["postbus-origin"] for each in forwarded)
        places = [i for i, each in enumerate(events) if each["message"]["priority"] == "low"]
        self.assertEqual(offsets, sorted(f"{self.kafka.topic}/{PARTITION}/{place}" for place in places))

    def sent(self, postbus, id: str):
        answer = get(postbus.api, f"/v1/emails/{id}")
        return answer.json if answer.status == 200 and answer.json["status"] == "sent" else None

    def test_a_high_one_overtakes_those_in_front_of_it(self):
        """They are in its partition."""
        events = [event("normal", i) for i in range(300)] + [event("high", 0)]
        high = events[-1]["message"]["id"]
        with GatedServer() as server:
            server.gate.clear()
            postbus = self.start(server, events, transport=self.smtp(max_connections=1))
            wait_until(lambda: postbus.metric("postbus_email_inflight") >= len(events), SECONDS, "all in the window")
            self.assertLessEqual(len(server.complete()), 1)
            server.gate.set()
            wait_until(lambda: len(server.complete()) >= len(events), SECONDS, "every mail")
            self.assertEqual(postbus.stop(), 0)
            self.assertIn(high, server.complete()[:3])
            self.assert_each_once(server.complete(), {each["message"]["id"] for each in events})


    def test_a_high_one_does_not_wait_for_replies_to_others(self):
        """The server answers nobody, and all connections that others may have wait for it."""
        events = [event("normal", i) for i in range(100)]
        high = event("high", 0)
        with GatedServer() as server:
            server.gate.clear()
            postbus = self.start(server, events, transport=self.smtp(max_connections=8))
            wait_until(lambda: len(server.complete()) == 7, SECONDS, "others, one a connection")
            self.kafka.produce([high], partition=PARTITION)
            wait_until(lambda: high["message"]["id"] in server.complete(), SECONDS, "the high one")
            self.assertEqual(len(server.complete()), 8)
            server.gate.set()
            wait_until(lambda: len(server.complete()) > len(events), SECONDS, "the others")
            self.assertEqual(postbus.stop(), 0)
            self.assert_each_once(server.complete(), {each["message"]["id"] for each in [*events, high]})


if __name__ == "__main__":
    e2e.main()
