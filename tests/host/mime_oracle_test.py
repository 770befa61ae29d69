"""Composes several hundred awkward mails with mime_dump and reads them back with Python's email package and with GMime
(gmime_read): subject, addresses, headers, text, HTML and files must come out as they went in, and every line must keep
the rules of RFC 5322 and 2047."""

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

MIME_DUMP, GMIME_READ = sys.argv.pop(1), sys.argv.pop(1)

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
FILENAMES = [
    "a.pdf", "Rechnung für März.pdf", "日本語の添付ファイル.txt", "😀.png", "x" * 60, "x" * 61, "日" * 85, "e\u0301" * 80, 'quote"d.txt',
    "semi;colon, comma.txt", "100 %.txt", "per%20cent.txt", "=?utf-8?q?x?=.txt", "a'b''c.txt", " padded .txt", "no ending", "(c) [d] <e>.txt", "ü" + "x" * 200,
]
CONTENT_IDS = ["", "", "logo", "a.b_c+d=e$f@g-h", "image001.png@01D0"]
CONTENT_TYPES = ["application/pdf", "text/csv; charset=utf-8", "application/octet-stream", "image/png", "text/calendar; method=REQUEST"]
VALUES = [
    "v", "<https://x.example/u?a=1&b=%20>, <mailto:u@x.example>", "<https://x.example/" + "u" * 900 + ">", "Grüße", "日本語" * 40, "a =?utf-8?q?b?= c",
    "=?b?= x", "two  spaces", '{"json": ["a, b"]}', "v" * 900,
]
ENDS = ["\n", "\r\n", "\r"]
# What GMime reads wrongly: it joins adjacent words before it decodes them, and stops at a padding in between.
PADDED_INSIDE = re.compile(rb"=\?=\r\n =\?UTF-8\?B\?")
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
             "text": "Hi\n", "html": "", "id": "<1@x.example>", "date": 1766692800123, "cc": [], "reply_to": [], "headers": [], "files": []}

    def body(lines, ends, close):
        return "".join(line + rng.choice(ends) for line in lines[:-1]) + lines[-1] + (rng.choice(ends) if close else "")

    def files(count):
        return [(rng.choice(FILENAMES), rng.choice(CONTENT_TYPES), content_id and f"{content_id}{i}", rng.randbytes(rng.choice([1, 2, 3, 56, 57, 58, 1000])))
                for i, content_id in enumerate(rng.choices(CONTENT_IDS, k=count))]

    for filename in FILENAMES:
        yield {**plain, "html": "<p>", "files": [(filename, "text/plain", "", b"ABC"), (filename, "image/png", "logo", b"\0\xff\r\n")]}
    for size in (1, 2, 3, 56, 57, 58, 114, 115, 500 * 1024):
        yield {**plain, "files": [("a.bin", "application/octet-stream", "", rng.randbytes(size))]}
    for value in VALUES:
        yield {**plain, "headers": [("X-A", value), ("X-" + "b" * 40, value)], "text": "", "html": "<p>", "files": files(2)}
    for name in NAMES:
        yield {**plain, "cc": [(name, "a@b.example")], "reply_to": [(name, "c@d.example"), ("", "e@f.example")]}
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
            "cc": [(rng.choice(NAMES), f"c{i}@b.example") for i in range(rng.choice([0, 0, 1, 9]))],
            "reply_to": [(rng.choice(NAMES), "r@b.example")] if number % 4 == 0 else [],
            "headers": [(f"X-H{i}", rng.choice(VALUES)) for i in range(rng.choice([0, 0, 1, 3]))],
            "files": files(rng.choice([0, 0, 1, 2, 4])),
            "id": f"<{number}@x.example>",
            "date": rng.randrange(0, 4102444800000),
        }


def netstrings_of(case):
    yield from case["from"]
    for name in ("to", "cc", "reply_to", "headers"):
        yield len(case[name])
        yield from itertools.chain(*case[name])
    yield len(case["files"])
    for filename, content_type, content_id, content in case["files"]:
        yield from (filename, content_type, content_id, base64.b64encode(content))
    yield from (case["subject"], case["text"], case["html"], case["id"], case["date"])


def run(program, values):
    """The netstrings the program answers to these."""
    answer = subprocess.run([program], input=b"".join(map(netstring, values)), stdout=subprocess.PIPE, check=True, timeout=100).stdout
    at = 0
    while at < len(answer):
        colon = answer.index(b":", at)
        end = colon + 1 + int(answer[at:colon])
        yield answer[colon + 1:end]
        at = end + 1


def pairs(values):
    values = list(values)
    return list(zip(values[::2], values[1::2]))


def compose(cases):
    return pairs(run(MIME_DUMP, itertools.chain(*map(netstrings_of, cases))))


def tree(case):
    """What the mail consists of: (type, [children]), or (type, file name, Content-ID, bytes) of a leaf."""
    texts = [(kind, "", "", canonical(case[name]).encode()) for kind, name in (("text/plain", "text"), ("text/html", "html")) if case[name]]
    texts = texts or [("text/plain", "", "", b"")]
    body = texts[0] if len(texts) == 1 else ("multipart/alternative", texts)
    files = [(content_type.split(";")[0], filename, content_id, content) for filename, content_type, content_id, content in case["files"]]
    related = [file for file in files if file[2] and case["html"]]
    mixed = [file for file in files if not (file[2] and case["html"])]
    if related:
        body = ("multipart/related", [body, *related])
    return ("multipart/mixed", [body, *mixed]) if mixed else body


def python_tree(part, in_multipart=False):
    if part.is_multipart():
        return part.get_content_type(), [python_tree(each, True) for each in part.iter_parts()]
    content_id = (part["content-id"] or "").removeprefix("<").removesuffix(">")
    if part.get_filename() is not None:
        name = part.get_param("filename", header="content-disposition")  # get_filename() would drop blanks at its ends
        name = email.utils.collapse_rfc2231_value(name)
        return part.get_content_type(), name, content_id, part.get_payload(decode=True)
    return part.get_content_type(), "", content_id, decoded(part, in_multipart).encode()


def gmime_tree(found, in_multipart=False):
    """The same of GMime's findings, taken from their front."""
    key, kind = found.pop(0)
    assert key == b"type", key
    kind = kind.decode()
    if kind.startswith("multipart/"):
        children = []
        while found[0][0] != b"up":
            children.append(gmime_tree(found, True))
        found.pop(0)
        return kind, children
    filename, content_id, encoding, content = (found.pop(0)[1] for _ in range(4))
    if not filename and (encoding == b"base64" or not in_multipart):
        content = content.removesuffix(b"\r\n")  # as decoded()
    return kind, filename.decode(), content_id.decode(), content


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
        self.assertGreaterEqual(len(self.cases), 500)
        self.assertEqual(len(self.answers), len(self.cases))

    def test_fields_are_read_back(self):
        def check(case, raw):
            message = email.message_from_bytes(raw, policy=email.policy.default)
            self.assertEqual(message.defects, [])
            self.assertEqual(str(message["subject"]), case["subject"])
            self.assertEqual(mailboxes(raw, "from"), [case["from"]])
            self.assertEqual(mailboxes(raw, "to"), case["to"])
            for header, name in (("cc", "cc"), ("reply-to", "reply_to")):
                self.assertEqual(mailboxes(raw, header) if message[header] else [], case[name])
            self.assertEqual([(name, str(value)) for name, value in message.items() if name.startswith("X-")], case["headers"])
            self.assertEqual(message["message-id"], case["id"])
            self.assertEqual(int(message["date"].datetime.timestamp()), case["date"] // 1000)
            self.assertEqual(message["auto-submitted"], "auto-generated")

        self.for_each(check)

    def test_parts_are_read_back(self):
        def check(case, raw):
            message = email.message_from_bytes(raw, policy=email.policy.default)
            self.assertEqual(python_tree(message), tree(case))
            for part in message.walk():
                self.assertEqual(part.defects, [])
                if part.is_multipart():
                    continue
                if part.get_filename() is None:
                    self.assertEqual(part.get_content_charset(), "utf-8")
                else:
                    self.assertIn(part.get_content_disposition(), ("inline", "attachment"))
                    self.assertEqual(part.get_content_disposition() == "inline", bool(part["content-id"] and case["html"]))
                    self.assertIn(part["content-type"].replace('"', ""), CONTENT_TYPES + ["text/plain"])

        self.for_each(check)

    def test_gmime_reads_the_same(self):
        mails = [raw for _, raw in self.answers]
        found = pairs(run(GMIME_READ, mails))

        def mailboxes_of(key, findings):
            values = [value.decode() for name, value in findings if name == key]
            return list(zip(values[::2], values[1::2]))

        def trimmed(mailboxes):  # GMime drops blanks at the ends of a quoted name
            return [(name.strip(), address) for name, address in mailboxes]

        beyond_gmime = 0

        def check(case, raw):
            nonlocal beyond_gmime
            end = found.index((b"end", b""))
            findings = found[:end]
            del found[:end + 1]
            if PADDED_INSIDE.search(raw.split(b"\r\n\r\n")[0]):
                beyond_gmime += 1
                return
            self.assertEqual(findings[0], (b"subject", case["subject"].encode()))
            self.assertEqual(findings[1], (b"message_id", case["id"].strip("<>").encode()))
            self.assertEqual(findings[2], (b"date", str(case["date"] // 1000).encode()))
            self.assertEqual(trimmed(mailboxes_of(b"from", findings)), trimmed([case["from"]]))
            for name in ("to", "cc", "reply_to"):
                self.assertEqual(trimmed(mailboxes_of(name.encode(), findings)), trimmed(case[name]))
            self.assertEqual([(name.decode(), value.decode()) for name, value in findings if name.startswith(b"X-")], case["headers"])
            first = next(i for i, (name, _) in enumerate(findings) if name == b"type")
            self.assertEqual(gmime_tree(findings[first:]), tree(case))

        self.for_each(check)
        self.assertEqual(found, [])
        self.assertLess(beyond_gmime, len(self.cases) // 50)

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
                    self.assertTrue(len(line) <= 78 or re.fullmatch(rb"( |From: |To: )<?[^ ]+@[^ ]+>?,?|X-.*", line), line)
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
                if part.is_multipart() or part.get_filename():
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
