"""What is no mail is refused with a reason, by HTTP and out of Kafka, and the host lives; no text adds a line on the wire."""

import copy
import json
import re

import e2e
from postbus_process import Client, post, wait_until
from recording_smtp_server import RecordingSmtpServer

GOOD = {"to": f"good@{e2e.DOMAIN}", "subject": "A good one", "template": "notice"}

# Bytes that try to end a line, to be put into every field. The last is what a careless decoder makes a line end of.
LINE_ENDS = {"CR": "\r", "LF": "\n", "NUL": "\0", "%0d%0a": "%0d%0a", "U+2028": "\u2028"}
ATTACK = "Bcc: victim@evil.example"


def as_event(message) -> dict:
    return {"type": "", "message": message}


def malformed() -> list[tuple[str, bytes]]:
    """100 bodies that are no mail, neither for the API nor in a queue: (what is wrong, bytes)."""
    good = json.dumps(as_event(GOOD)).encode()
    bodies = [(f"cut after {n} bytes", good[:n]) for n in range(1, len(good) - 1, 4)][:26]
    bodies += [
        ("only white space", b" \n\t "),
        ("a number", b"17"),
        ("a string", b'"to"'),
        ("null", b"null"),
        ("an array", b"[" + good + b"]"),
        ("two documents", good + good),
        ("text after the end", good + b"x"),
        ("not UTF-8 in a string", good.replace(b"A good one", b"A g\xff\xfed one")),
        ("an overlong line feed", good.replace(b"A good one", b"A\xc0\x8agood one")),
        ("a surrogate half", good.replace(b"A good one", b"\\ud800 good one")),
        ("a raw line feed in a string", good.replace(b"A good one", b"A good\none")),
        ("a raw NUL in a string", good.replace(b"A good one", b"A good\0one")),
        ("nothing but NULs", b"\0" * 64),
        ("single quotes", good.replace(b'"', b"'")),
        ("a comment", b"/* hello */" + good),
        ("a trailing comma", good[:-1] + b",}"),
        ("NaN", good.replace(b'"notice"', b'"notice", "max_retries": NaN')),
        ("nested 100 deep", b"[" * 100 + b"]" * 100),
        ("nested 50 000 deep", b'{"message":' * 50_000),
        ("data nested 40 deep", good.replace(b'"notice"', b'"notice", "data": ' + b'{"a":' * 40 + b"1" + b"}" * 40)),
        ("to twice", good.replace(b'"subject"', b'"to": "other@example.com", "subject"')),
        ("message twice", good[:-1] + b', "message": {}}'),
        ("HTML", b"<html><body>hello</body></html>"),
        ("a form", b"to=good%40example.com&template=notice"),
        ("a PNG", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
        ("gzip", b"\x1f\x8b\x08\x00" + bytes(200)),
        ("an empty object", b"{}"),
        ("message null", b'{"type": "x", "message": null}'),
        ("message a list", b'{"type": "x", "message": []}'),
        ("a byte order mark of UTF-16", b"\xff\xfe" + good.decode().encode("utf-16-le")),
    ]
    wrong = {
        "to": [None, "", 0, 5, True, {}, [], [""], [None], ["a@b.example", 7], "no-at-sign", "@", "a@", "@b.example",
               "a b@c.example", "a@b..example", "x" * 65 + "@b.example", ["a@b.example"] * 51],
        "from": [5, True, [], {}, "no-at-sign", "a@b.example, c@d.example"],
        "template": [None, "", 5, [], {}, "../../etc/passwd", "a/b", "-", "x" * 129],
        "subject": [5, True, [], {}, "x" * 999],
        "priority": [5, "urgent", [], {}],
        "data": ["text", 5, [], True],
        "id": [5, [], "white space", "a/b", "x" * 129],
        "timestamp": [5, "yesterday", "2025-13-01T00:00:00Z", "2025-12-25", []],
        "max_retries": [-2, 1.5, "3", [], 1e300],
    }  # fmt: skip
    for field, values in wrong.items():
        for value in values:
            body = json.dumps(as_event({**GOOD, field: value})).encode()
            bodies.append((f"{field}: {json.dumps(value)[:40]}", body))
    return bodies


def attacks() -> list[tuple[str, dict]]:
    """Each line end in each field: (where and what, message)."""
    messages = []
    for name, text in LINE_ENDS.items():
        attack = f"x{text}{ATTACK}"
        for field, message in {
            "id": {"id": f"id{text}{ATTACK}"},
            "from": {"from": f"a{text}@usualstore.com"},
            "from's name": {"from": f"{attack.replace('@', ' at ')} <a@usualstore.com>"},
            "to": {"to": f"a{text}@{e2e.DOMAIN}"},
            "to's name": {"to": f'"{attack}" <a@{e2e.DOMAIN}>'},
            "second recipient": {"to": [f"a@{e2e.DOMAIN}", f"b@{e2e.DOMAIN}>{text}RCPT TO:<victim@evil.example"]},
            "subject": {"subject": attack},
            "template": {"template": f"notice{text}"},
            "priority": {"priority": f"high{text}"},
            "timestamp": {"timestamp": f"2025-12-25T20:00:00Z{text}"},
            "data in the subject": {"subject": "", "template": "echo", "data": {"Text": attack}},
            "data in the body": {"template": "echo", "data": {"Text": f"x{text}.{text}MAIL FROM:<evil@evil.example>{text}"}},
        }.items():
            messages.append((f"{name} in {field}", {**GOOD, **message}))
    return messages


class HostileInput(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.add_template("echo", subject="{{Text}}", text="{{Text}}\n", html="<p>{{Text}}</p>\n")
        self.server = self.enterContext(RecordingSmtpServer())
        self.sent = 0

    def start(self):
        postbus = self.postbus(self.write_config(self.queue()), environment=self.server.environment)
        postbus.start()
        return postbus

    def check_it_lives(self, postbus) -> None:
        """The same process still sends a good mail."""
        answer = post(postbus.api, GOOD)
        self.assertEqual(answer.status, 202, answer.body)
        id = answer.json["id"].encode()
        wait_until(lambda: any(id in mail for mail in self.server.mails()), e2e.PATIENCE_SECONDS, "a good mail")
        self.assertTrue(postbus.is_running())

    def check_refusal(self, answer, what: str) -> None:
        self.assertIn(answer.status, (400, 413, 415, 422), f"{what}: {answer.body}")
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json", what)
        problem = answer.json
        self.assertEqual(problem["status"], answer.status, what)
        self.assertTrue(problem["title"] and problem["code"] and problem["detail"], what)

    def check_wire(self, addresses: set[bytes]) -> None:
        """Nothing came but what postbus itself writes."""
        line = re.compile(
            rb"(EHLO [\w.\[\]:-]+|MAIL FROM:<([^<>\s]*)>( [A-Z0-9]+(=[A-Z0-9]+)?)*|RCPT TO:<([^<>\s]+)>|DATA|RSET|QUIT)\r\n"
        )
        headers = {b"date", b"from", b"to", b"subject", b"message-id", b"auto-submitted", b"mime-version", b"content-type",
                   b"content-transfer-encoding"}  # fmt: skip
        for session in self.server.sessions():
            for command in session.commands:
                match = line.fullmatch(command)
                self.assertTrue(match, command)
                for address in (match[2], match[5]):
                    self.assertIn(address, addresses | {None})
            for data in session.data:
                self.assertNotIn(b"\0", data)
                self.assertNotRegex(data.replace(b"\r\n", b""), rb"[\r\n]", "a CR or LF alone")
                head = data.partition(b"\r\n\r\n")[0]
                names = [row.partition(b":")[0].lower() for row in head.split(b"\r\n") if row[:1] not in b" \t"]
                self.assertLessEqual(set(names), headers)
                self.assertEqual(len(names), len(set(names)), f"a header twice: {names}")
                for row in data[: -len(b".\r\n")].split(b"\r\n"):
                    self.assertNotEqual(row, b".", "an end of data inside the mail")


ADDRESSES = {b"noreply@usualstore.com", b"a@usualstore.com", *(f"{name}@{e2e.DOMAIN}".encode() for name in ("good", "a", "b"))}


class OverHttp(e2e.OnSqlite, HostileInput):
    def test_100_malformed_bodies(self):
        postbus = self.start()
        bodies = malformed()
        self.assertGreaterEqual(len(bodies), 100)
        bodies += [
            ("nothing", b""),
            ("an unknown field", json.dumps({**GOOD, "scheduled_att": "2030-01-01T00:00:00Z"}).encode()),
            ("too large", json.dumps({**GOOD, "data": {"x": "y" * 1_000_000}}).encode()),
        ]
        with Client(postbus.api) as client:
            for what, body in bodies:
                self.check_refusal(client.post(body), what)
            answer = client.request("POST", "/v1/emails", json.dumps(GOOD).encode(), {"Content-Type": "text/plain"})
            self.check_refusal(answer, "no JSON by its type")
        self.check_it_lives(postbus)
        self.assertEqual(len(self.server.mails()), 1)

    def test_injections(self):
        postbus = self.start()
        accepted = {}
        messages = attacks()
        self.assertGreaterEqual(len(messages), 50)
        with Client(postbus.api) as client:
            for what, message in messages:
                for mail in (message, as_event(message)):
                    answer = client.post(mail)
                    if answer.status == 202:
                        accepted[answer.json["id"]] = what
                    else:
                        self.check_refusal(answer, what)
        # In a body a line end is a line end.
        self.assertEqual({what.partition(" in ")[2] for what in accepted.values()}, {"data in the body"})
        self.check_it_lives(postbus)
        wait_until(lambda: postbus.metric("postbus_queue_waiting") == 0 and postbus.metric("postbus_email_inflight") == 0,
                   e2e.PATIENCE_SECONDS, "an empty queue")  # fmt: skip
        self.assertEqual(postbus.stop(), 0)
        self.check_wire(ADDRESSES)
        sent = {id for id in accepted if any(id.encode() in mail for mail in self.server.mails())}
        self.assertEqual(sent, set(accepted))


class OverKafka(e2e.OnKafka, HostileInput):
    PARTITION = 3

    def produce_raw(self, values: list[bytes]) -> None:
        """The n-th becomes offset n of one partition."""
        folder = self.directory / "records"
        folder.mkdir()
        files = []
        for i, value in enumerate(values):
            files.append(folder / f"{i:04}")
            files[-1].write_bytes(value)
        self.kafka.produce_files(files, self.PARTITION)

    def start_with(self, values: list[bytes]):
        config = self.write_config(self.queue())
        created = self.run_postbus("topics", "create", "-c", config, env=self.environment(self.server))
        self.assertEqual(created.returncode, 0, created.stderr)
        self.produce_raw(values)
        return self.start()

    def dead_offsets(self, count: int) -> set[int]:
        """Waits for `count` dead letters."""
        def all_there():
            letters = self.kafka.dead_letters()
            return letters if len(letters) >= count else None

        letters = wait_until(all_there, e2e.PATIENCE_SECONDS, f"{count} dead letters")
        for letter in letters:
            self.assertEqual(letter["__dlq.errors.topic"], self.kafka.topic)
            self.assertEqual(letter["__dlq.errors.partition"], str(self.PARTITION))
            self.assertTrue(letter["__dlq.errors.message"])
            self.assertNotIn(e2e.DOMAIN, letter["__dlq.errors.message"])
        offsets = [int(letter["__dlq.errors.offset"]) for letter in letters]
        self.assertEqual(len(offsets), len(set(offsets)), "dead letters twice")
        return set(offsets)

    def test_100_malformed_records(self):
        records = malformed()
        postbus = self.start_with([body for _, body in records])
        dead = self.dead_offsets(len(records))
        self.assertEqual(dead, set(range(len(records))))
        self.check_it_lives(postbus)
        self.assertEqual(len(self.server.mails()), 1)
        self.assertEqual(postbus.stop(), 0)

    def test_injections(self):
        messages = attacks()
        # Every record has an id of its own where the id is not the attack, so that mails are told apart.
        values = []
        for i, (_, message) in enumerate(messages):
            values.append(json.dumps(as_event({"id": f"injection-{i}-", **copy.deepcopy(message)})).encode())
        postbus = self.start_with(values)
        self.check_it_lives(postbus)
        wait_until(lambda: postbus.metric("postbus_queue_completed_total") >= len(messages) + 1, e2e.PATIENCE_SECONDS,
                   "the end of all turns")  # fmt: skip
        self.assertEqual(postbus.stop(), 0)
        self.check_wire(ADDRESSES)
        sent = {i for i in range(len(messages)) if any(f"injection-{i}-".encode() in m for m in self.server.mails())}
        dead = self.dead_offsets(len(messages) - len(sent))
        self.assertEqual(sent | dead, set(range(len(messages))))
        self.assertEqual(sent & dead, set())
        self.assertEqual({messages[i][0].partition(" in ")[2] for i in sent}, {"data in the body"})


if __name__ == "__main__":
    e2e.main()
