"""Composes several hundred awkward mails with mime_dump and reads them back with Python's email package: subject,
addresses, text and HTML must come out as they went in, and every line must keep the rules of RFC 5322 and 2047."""

import base64
import email
import email.header
import email.policy
import email.utils
import itertools
import quopri
import random
import re
import subprocess
import sys
import unittest

MIME_DUMP = sys.argv.pop(1)

NAMES = [
    "", "Anna", "Anna Maria Lopez", 'The "Boss"', "Smith, Bob", "back\\slash", "semi;colon <x>", "Dr. Who", "a@b",
    "Jürgen Groß", "日本語の名前", "😀 Emoji 👩‍👩‍👧‍👦", "עברית (RTL)", "\u202eabc", "e\u0301" * 40, " padded ", "two  spaces",
    "=?utf-8?q?x?=", "x" * 200, "word " * 30 + "end", "ü" * 200, "(comment)", "a_b=c?d", "[brackets]", "o'Neil",
    "trailing backslash \\", "'quoted'", ",", '"', "naïve, \"quoted\"", '"' * 35, '"' * 36, "x" * 72, "x" * 73, "a, " + "x" * 67, "a, " + "x" * 68,
]
SUBJECTS = [
    "", "Hello", "a b", "  leading", "trailing  ", "two  spaces   three", "Grüße aus Köln", "日本語の件名" * 20, "😀" * 50,
    "e\u0301" * 60, "xe\u0301" * 61, "עברית וגם English", "\u202eright to left", "=?UTF-8?B?SGVsbG8=?=", "a=?b?= c", "tab\there",
    "w" * 60, "w" * 69, "w" * 70, "w" * 77, "w" * 78, "w" * 79, "w" * 500, "w" * 998, "short " + "w" * 100, "word " * 199,
    " ", "   ", "x" + " " * 90 + "y", "?", "=", "_", "a_b=c?d é", "é" * 22, "x" + "é" * 22, "é" * 499, "100 % off: \"now\" (really)",
    "From me", "Re: Fwd: x", ".", "日" + "a" * 100, "a" * 100 + " 日",
]
LINES = [
    "", "plain", ".", "..", ".dot at start", "From here", "From the ünder", ">From", "trailing space ", "trailing tab\t", " ", "\t",
    "--", "-- ", "--=_", "=", "=3D", "ü", "日本語", "😀", "e\u0301", "עברית", "\u2028", "\ufeff", "x" * 76, "x" * 75 + "ü", "x" * 998,
    "x" * 999, "y" * 5000, "é" * 5000, "a, b; c", "<p class=\"x\">a &amp; b</p>", "\x01\x7f\x0b\x0c\x1b", "\x85",
    "x" * 74 + "From y", "ü" + "x" * 69 + "From y",
]
ENDS = ["\n", "\r\n", "\r"]
BAD_WORDS = re.compile(rb"=\?UTF-8\?([QB])\?([^?]*)\?=")


def netstring(value):
    if isinstance(value, int):
        value = str(value)
    if isinstance(value, str):
        value = value.encode()
    return b"%d:%s," % (len(value), value)


def mails():
    """Each awkward value at least once, then random mixtures."""
    rng = random.Random(2822)
    plain = {"from": ("Usual Store", "noreply@usualstore.com"), "to": [("", "anna@example.org")], "subject": "Hello",
             "text": "Hi\n", "html": "", "id": "<1@x.example>", "date": 1766692800123}

    def body(lines, ends, close):
        return "".join(line + rng.choice(ends) for line in lines[:-1]) + lines[-1] + (rng.choice(ends) if close else "")

    for name in NAMES:
        yield {**plain, "from": (name, "a@b.example"), "to": [(name, "c@d.example"), ("x", "e@f.example")]}
    for subject in SUBJECTS:
        yield {**plain, "subject": subject}
    for size in range(0, 998, 53):
        yield {**plain, "subject": ("ab cd " * 200)[:size]}
        yield {**plain, "subject": ("ü日😀 " * 200).encode()[:size].decode(errors="ignore")}
    for line in LINES:
        yield {**plain, "text": line}
        yield {**plain, "text": "", "html": line}
        yield {**plain, "text": line + "\n", "html": "<p>" + line}
        yield {**plain, "text": "ü\n" + line + "\r\nend", "html": line + "\r" + line}
    for ends in ENDS:
        yield {**plain, "text": body(LINES, [ends], True), "html": body(LINES, [ends], False)}
        yield {**plain, "text": body(["a", "b", "", "c"], [ends], True), "html": body(["a", "", "b"], [ends], False)}
    for number in range(400):
        yield {
            "from": (rng.choice(NAMES), f"from{number}@b.example"),
            "to": [(rng.choice(NAMES), f"{'long' * rng.randrange(16)}{i}@{'d' * rng.randrange(1, 63)}.example")
                   for i in range(rng.choice([1, 1, 2, 5, 50]))],
            "subject": " ".join(rng.choice(SUBJECTS) for _ in range(rng.randrange(4))).encode()[:998].decode(errors="ignore"),
            "text": body(rng.choices(LINES, k=rng.randrange(1, 9)), ENDS, rng.random() < 0.5),
            "html": body(rng.choices(LINES, k=rng.randrange(1, 9)), ENDS, rng.random() < 0.5) if number % 3 else "",
            "id": f"<{number}@x.example>",
            "date": rng.randrange(0, 4102444800000),
        }


def compose(cases):
    request = bytearray()
    for case in cases:
        for value in (*case["from"], len(case["to"]), *itertools.chain(*case["to"]), case["subject"], case["text"],
                      case["html"], case["id"], case["date"]):
            request += netstring(value)
    answer = subprocess.run([MIME_DUMP], input=bytes(request), stdout=subprocess.PIPE, check=True, timeout=60).stdout
    values = []
    at = 0
    while at < len(answer):
        colon = answer.index(b":", at)
        end = colon + 1 + int(answer[at:colon])
        values.append(answer[colon + 1:end])
        at = end + 1
    return list(zip(values[::2], values[1::2]))


def canonical(body):
    """With CRLF, and without the last line end, which belongs to the boundary in a multipart."""
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    return body.removesuffix("\n").replace("\n", "\r\n")


def decoded(part, in_multipart):
    body = part.get_payload(decode=True).decode()
    if in_multipart and part["content-transfer-encoding"] != "base64":
        return body  # the parser has taken the boundary's line end away
    return body.removesuffix("\r\n")


def mailboxes(raw, header):
    """Not message[header].addresses: Python 3.11 reads a space between two adjacent encoded-words of a phrase."""
    value = email.message_from_bytes(raw, policy=email.policy.compat32)[header].replace("\r\n", "")
    return [(str(email.header.make_header(email.header.decode_header(name))), address)
            for name, address in email.utils.getaddresses([value])]


class MimeOracle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cases = list(mails())
        cls.answers = compose(cls.cases)
        cls.again = compose(cls.cases)

    def for_each(self, check):
        for number, (case, (verdict, raw)) in enumerate(zip(self.cases, self.answers)):
            with self.subTest(number=number, subject=case["subject"][:40], sender=case["from"][0][:40], text=case["text"][:40]):
                self.assertEqual(verdict, b"ok", raw)
                check(case, raw)

    def test_enough_mails(self):
        self.assertGreaterEqual(len(self.cases), 300)
        self.assertEqual(len(self.answers), len(self.cases))

    def test_fields_are_read_back(self):
        def check(case, raw):
            message = email.message_from_bytes(raw, policy=email.policy.default)
            self.assertEqual(message.defects, [])
            self.assertEqual(str(message["subject"]), case["subject"])
            self.assertEqual(mailboxes(raw, "from"), [case["from"]])
            self.assertEqual(mailboxes(raw, "to"), case["to"])
            self.assertEqual(message["message-id"], case["id"])
            self.assertEqual(int(message["date"].datetime.timestamp()), case["date"] // 1000)
            self.assertEqual(message["auto-submitted"], "auto-generated")

        self.for_each(check)

    def test_parts_are_read_back(self):
        def check(case, raw):
            message = email.message_from_bytes(raw, policy=email.policy.default)
            expected = [(kind, case[name]) for kind, name in (("text/plain", "text"), ("text/html", "html")) if case[name]]
            expected = expected or [("text/plain", "")]
            self.assertEqual(message.is_multipart(), len(expected) == 2)
            parts = list(message.iter_parts()) if message.is_multipart() else [message]
            self.assertEqual([(part.get_content_type(), decoded(part, message.is_multipart())) for part in parts],
                             [(kind, canonical(body)) for kind, body in expected])
            for part in parts:
                self.assertEqual(part.get_content_charset(), "utf-8")
                self.assertEqual(part.defects, [])

        self.for_each(check)

    def test_lines_keep_the_rules(self):
        def check(case, raw):
            self.assertTrue(raw.endswith(b"\r\n"))
            self.assertTrue(raw.isascii())
            self.assertNotIn(b"\0", raw)
            lines = raw.split(b"\r\n")
            header = True
            encoding = b""
            for line in lines:
                self.assertNotIn(b"\r", line)
                self.assertNotIn(b"\n", line)
                self.assertLessEqual(len(line), 998)
                header = header and line != b""
                if header:
                    # An address is the one thing that cannot be folded.
                    self.assertTrue(len(line) <= 78 or re.fullmatch(rb"( |From: |To: )<?[^ ]+@[^ ]+>?,?", line), line)
                    self.assertNotRegex(line, rb"^\s*$")
                    if b"=?UTF-8?" in line:
                        self.assertLessEqual(len(line), 78)
                        self.assertTrue(len(line) <= 76 or b"@" in line, line)
                if line.startswith(b"Content-Transfer-Encoding: "):
                    encoding = line.split(b" ")[1]
                if encoding == b"quoted-printable" and not header and not line.startswith((b"--", b"Content")):
                    self.assertLessEqual(len(line), 76)
                    self.assertNotRegex(line, rb"[ \t]$")
                    self.assertFalse(line.startswith(b"From "))

        self.for_each(check)

    def test_encoded_words_are_whole(self):
        def check(case, raw):
            for kind, payload in BAD_WORDS.findall(raw.split(b"\r\n\r\n")[0]):
                self.assertLessEqual(len(payload) + 12, 75)
                text = base64.b64decode(payload, validate=True) if kind == b"B" else quopri.decodestring(payload, header=True)
                text.decode()  # no code point is cut

        self.for_each(check)

    def test_the_smaller_encoding_is_chosen(self):
        def check(case, raw):
            message = email.message_from_bytes(raw, policy=email.policy.default)
            for part in message.walk():
                if part.is_multipart():
                    continue
                chosen = part["content-transfer-encoding"]
                body = part.get_payload(decode=True)
                simple = body.isascii() and all(len(line) <= 998 for line in body.split(b"\r\n"))
                self.assertEqual(chosen == "7bit", simple)
                if chosen == "quoted-printable":
                    self.assertLessEqual(len(part.get_payload()), len(base64.encodebytes(body)) * 78 / 77 + 8)
                if chosen == "base64":
                    quoted = quopri.encodestring(body.replace(b"\r\n", b"\n"))
                    self.assertLessEqual(len(part.get_payload()), len(quoted) + quoted.count(b"\n") + 8)

        self.for_each(check)

    def test_same_input_same_bytes(self):
        self.assertEqual(self.answers, self.again)


if __name__ == "__main__":
    unittest.main()
