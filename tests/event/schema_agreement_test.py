"""The codec and event/email_event.schema.json judge the same documents and must agree.

usage: schema_agreement_test.py JUDGE_EVENTS SCHEMA
"""

import json
import random
import subprocess
import sys
import unittest

try:
    from jsonschema import Draft202012Validator
except ImportError:
    sys.exit("jsonschema with draft 2020-12 is missing: apt install python3-jsonschema (4.0 or later)")

# What JSON Schema cannot say: the only reasons for which the codec may refuse what the schema accepts. The other way
# round there is none.
RULES = {
    "duplicate": "a known field stands once",
    "depth": "at most 32 levels",
    "size": "at most limits.max_event bytes",
    "bytes": "lengths count bytes of UTF-8, and of the parts of an address",
    "nul": "no U+0000 in strings that have no rule of their own",
    "surrogate": "no half of a surrogate pair",
    "calendar": "days that the month does not have",
    "number": "numbers beyond any double",
    "recipients": "at most 50 in to, cc and bcc together",
    "case": "no two headers that differ in case alone",
    "header": "at most 998 bytes of a header with its name",
    "content_id": "no two attachments with the same",
    "expiry": "expires_at is later than scheduled_at",
}

SEED = {
    "type": "password_reset",
    "message": {
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "from": "noreply@usualstore.com",
        "to": "user@example.com",
        "subject": "Password Reset Request",
        "template": "password-reset",
        "data": {"Link": "https://usualstore.com/reset?token=abc123"},
        "priority": "high",
        "timestamp": "2025-12-25T20:00:00Z",
        "retry_count": 0,
        "max_retries": 3,
        "status": "pending",
    },
}
MINIMAL = {"message": {"to": "a@b", "template": "t"}}
AS_IT_IS = {"message": {"to": "a@b", "subject": "s", "html": "<p>", "text": ""}}

ABSENT = [None, "", 0, 0.0, -0.0]
ODD = [True, False, 1, -1, 1.5, [], {}, [[]], ["x"], {"a": 1}, "x", " ", "\n"]
CONTROLS = [chr(c) for c in (*range(0x20), 0x7F, 0x80, 0x85, 0x9F, 0x2028, 0x2029)]
LINE_BREAKS = ["%0d%0a", "%0D%0A", "%0d%0A", "%0a", "%0D", "%00", "%0d", "\r\n", "\r\n ", "\n.\r\n"]
TEXTS = ["Hello", "tab\there", "Grüße 🎉", "\u00a0", "%0a%0d", "100% sure", "\ufffd"] + [
    text for part in CONTROLS + LINE_BREAKS for text in (part, "a" + part, part + "a", "a" + part + "b")
]
MAILBOXES = [
    "a@b", " a@b ", "<a@b>", "Name <a@b>", "Name<a@b>", ' "Na, me"  <a@b> ', '"a\\"b\\\\" <a@b>', '"" <a@b>', "N n  n <a@b>",
    "用户@例子.公司", "ä <ä@ö.ü>", "!#$%&'*+-/=?^_`{|}~@x", "a.b@c-d.e", "a@1.2", "a@b--c", "Na(me) [x]: y <a@b>", "a@\u00a0",
    "no-at-sign", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "<a@b", "a@b>", "< a@b>", "<a@b >", "<>", "N <>", "<<a@b>>", "N a@b",
    "Na, me <a@b>", "a@b, c@d", "a@b;c@d", "N@m <a@b>", "N\\m <a@b>", '"N" m <a@b>', '"N <a@b>', '"N\\" <a@b>', '"N"', '"N">',
    '"\\>', '"a"@b', '"a b"@c', ".a@b", "a.@b", "a..b@c", "a@.b", "a@b.", "a@b..c", "a@-b", "a@b-", "a@b.-c", "a@b_c", "a@b!",
    "a@[127.0.0.1]", "a(c)@b", "a@b(c)", "a:b@c", "a@b:25", "a\\@b", "N <a@b> <c@d>", "N <a@b> x", '"\\\\" <a@b>', '"\\x" <a@b>',
] + [
    text
    for part in ("\r\n", "\n", "\t", "\0", "\u2028", "\u0085", "%0d", "%0A", "%00", "%0d%0a", "\x7f")
    for text in (part + "a@b", "a" + part + "@b", "a@" + part + "b", "a@b" + part, "N" + part + " <a@b>", "N <a@b" + part + ">")
]
TIMES = [
    "2025-12-25T20:00:00Z", "2025-12-25t20:00:00z", "2025-12-25T20:00:00.1+05:30", "2025-12-25T20:00:00.123456789-23:59",
    "0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2016-12-31T23:59:60Z", "2024-02-29T00:00:00Z",
    "2025-12-25", "2025-12-25T20:00:00", "2025-12-25 20:00:00Z", "2025-12-25T20:00:00.Z", "2025-12-25T20:00:00.1234567890Z",
    "2025-12-25T24:00:00Z", "2025-12-25T20:60:00Z", "2025-12-25T20:00:61Z", "2025-13-25T20:00:00Z", "2025-00-25T20:00:00Z",
    "2025-12-00T20:00:00Z", "2025-12-32T20:00:00Z", "2025-12-25T20:00:00+24:00", "2025-12-25T20:00:00+0530",
    "2025-12-25T20:00:00+05", "2025-12-25T20:00:00Z\n", " 2025-12-25T20:00:00Z", "2025-12-25T20:00:00ZZ", "yesterday", "٢٠٢٥-12-25T20:00:00Z",
]
HEADERS = [
    "X-A", "x_a-1", "List-Unsubscribe", "In-Reply-To", "Fromage", "X-From", "Contents", "Arc", "h" * 76, "h" * 77, "", "X A", "X:", "ä", "X\n",
    "a%0d%0a", "from", "To", "CC", "Bcc", "reply-to", "Subject", "date", "Sender", "Message-Id", "MIME-version", "RECEIVED", "Return-Path",
    "DKIM-Signature", "Delivered-To", "DomainKey-Signature", "auto-submitted", "Authentication-Results", "Content-Type", "content-",
    "Resent-Date", "ARC-Seal", "X-Postbus-Original-To", "X-Postbus", "x-postbus-",
]
FILE = {"filename": "a.pdf", "content": "QUJD"}
PARTS = {
    "filename": TEXTS + ["a/b", "a\\b", "../x", "f" * 255, "f" * 256],
    "content": ["QQ==", "QUI=", "QUJDQUJD", "++//", "A", "QQ=", "QQ", "=QQQ", "Q===", "QQ=Q", "====", "QU-_", "QU JD", "QUJD\n", "QUJD\r\nQUJD",
                "QUI=QUI=", "ü"],
    "content_type": ["application/pdf", "text/csv; charset=utf-8", "a/b;c=d ;  e=\"f [g] %\"", "A/B", "a!#$%&'*+-.^_`{|}~/b", "pdf", "a/", "/b",
                     "a/b/c", "a/b;", "a/b; ", "a/b;c", "a/b;c=", "a/b; c=\"d", "a/b; c=\"d\\\"\"", "a/b c=d", "a/ü", "a/b\n", "a/b;\tc=d",
                     "multipart/mixed", "Message/rfc822", "messages/x", "a/%0d%0a", "a/" + "b" * 253, "a/" + "b" * 254],
    "content_id": ["logo", "a.b_c+d=e$f@g-h", "i" * 128, "i" * 129, "<a>", "a b", "ä", "a\n", "a%20"],
    "other": [{"filename": 1}],
}
VALUES = {
    "id": ABSENT + ODD + ["order-7:A.b_c", "i" * 128, "i" * 129, "a b", "a/b", "ä", "a\n", "\na", "a\0", "a%0d%0a"],
    "from": ABSENT + ODD + MAILBOXES,
    "to": ABSENT + ODD + MAILBOXES + [["a@b"], ["a@b", "N <c@d>"], ["a@b"] * 50, ["a@b"] * 51, ["a@b", ""], ["a@b", None], ["a@b", 0],
                                      ["a@b", ["c@d"]], ["a@b", {}], ["a@b", "x"], ["a@b\n"]],
    "subject": ABSENT + ODD + TEXTS + ["s" * 998, "s" * 999],
    "template": ABSENT + ODD + ["password-reset", "A_1.x", "a.", "t" * 128, "t" * 129, "..", "a..b", "../x", ".a", "-a", "_a", "a b", "ä",
                                "a\n", "a/b", "a\\b", "a\0"],
    "data": ABSENT + ODD + [{"a": {"b": [1, None, "x\r\n%0d%0a\u2028"]}}, {"to": 1, "message": {"to": []}}, {"": ""}],
    "priority": ABSENT + ODD + ["high", "normal", "low", "HIGH", "Low", "urgent", "high ", "high\n"],
    "timestamp": ABSENT + ODD + TIMES,
    "retry_count": ABSENT + ODD + [7, 10**30, "\u0007", {"retry_count": [1]}],
    "max_retries": ABSENT + ODD + [3, 3.0, 2147483647, 2147483648, -2, -1.0, 0.5, -0.5, 1e300, 10**30, "3", "-1"],
    "status": ABSENT + ODD + ["pending", "sent", "failed", "bogus\n", {"status": "x"}],
    "html": ABSENT + ODD + ["<p>", "a\0"],
    "text": ABSENT + ODD + ["Hello\r\n", "%0d%0a\u2028"],
    "cc": ABSENT + ODD + MAILBOXES + [["a@b"], ["a@b"] * 49, ["a@b"] * 51, ["a@b", ""], ["a@b", None], ["a@b", ["c@d"]]],
    "bcc": ABSENT + ODD + ["a@b", ["a@b", "N <c@d>"], [{}], ["x"]],
    "reply_to": ABSENT + ODD + ["a@b", ["a@b"] * 50, ["a@b"] * 51, ["a@b\n"]],
    "headers": ABSENT + ODD + [{"X-A": value} for value in ABSENT + ODD + TEXTS] + [{name: "v"} for name in HEADERS] + [
        {f"X-{i}": "v" for i in range(count)} for count in (50, 51)] + [{"X-A": "v" * 993}, {"": ""}, {"To": None}],
    "tags": ABSENT + ODD + [[value] for value in ABSENT + ODD + TEXTS] + [["t"] * 10, ["t"] * 11, ["t" * 128], ["t" * 129]],
    "metadata": ABSENT + ODD + [{"a": value} for value in ABSENT + ODD + TEXTS] + [{name: "v"} for name in TEXTS] + [
        {"": "v"}, {"n" * 64: "v"}, {"n" * 65: "v"}, {"a": "v" * 512}, {"a": "v" * 513}, {"a": "", "A": None},
        {str(i): "v" for i in range(50)}, {str(i): "v" for i in range(51)}],
    "attachments": ABSENT + ODD + [[value] for value in ABSENT + ODD] + [[FILE], [FILE] * 50, [FILE] * 51, [FILE, {}], [FILE, "x"]] + [
        [FILE | {part: value}] for part, values in PARTS.items() for value in ABSENT + ODD + values] + [
        [{part: value for part, value in FILE.items() if part != missing}] for missing in FILE],
    "scheduled_at": ABSENT + ODD + TIMES,
    "expires_at": ABSENT + ODD + TIMES,
    "tracking": ODD, "To": ODD, "message": ODD,
}
TYPES = ABSENT + ODD + TEXTS + ["x" * 256, "x" * 257]

# (document, the rule for which only the codec refuses it)
RAW = [(text.encode(), None) for text in (
    "", " ", "{", "}", "null", "true", "0", '"x"', "[]", "[{}]", "{}", '{"message":null}', '{"message":""}', '{"message":[]}',
    '{"message":{}}', '{"type":"x"}', '{"to":"a@b","template":"t"}', '{"message":{"to":"a@b"}}', '{"message":{"template":"t"}}',
    '{"message":{"to":"a@b","template":"t",}}', '{"message":{"to":"a@b","template":"t"}} x', "{'message':{}}", '{"message":NaN}',
    '{"message":{"to":"a@b","template":"t","x":Infinity}}', '{"message":{"to":"a@b","template":"t","x":01}}',
    '{"message":{"to":"a@b","template":"t","x":.5}}', '{"message":{"to":"a@b","template":"t","x":"\t"}}',
    '{"message":{"to":"a@b","template":"t","x":"\\x"}}', '{"message":{"to":"a@b","template":"t"}}\0', "\ufeff" + json.dumps(MINIMAL),
    '{"x":1,"x":2,"message":{"to":"a@b","template":"t","y":1,"y":2}}', '{"message":{"t\\u006f":"a@b","template":"t"}}',
    '{"message":{"to":"a\\u0040b","template":"t"}}', '{"message":{"to":"a@b","template":"t","subject":"\\ud83c\\udf89"}}',
    '{"version":2,"meta":{"message":{}},"message":{"to":"a@b","template":"t"}}', '\r\n\t {"message" : {"to":"a@b" , "template":"t"}} \n',
    # Go's encoding/json with only To and Template set
    '{"type":"","message":{"id":"","from":"","to":"user@example.com","subject":"","template":"welcome","data":null,"priority":"",'
    '"timestamp":"0001-01-01T00:00:00Z","retry_count":0,"max_retries":0,"status":""}}',
)]
RAW += [(b'{"message":{"to":"a@b","template":"t","data":{"x":"' + bad + b'"}}}', None)
        for bad in (b"\x80", b"\xc0\x8a", b"\xe0\x80\x8a", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\xe2\x82", b"\xf0\x9f\x98")]


def with_members(members, rule):
    return ('{"message":{"to":"a@b","template":"t",' + members + "}}").encode(), rule


RAW += [
    with_members('"to":"a@b"', "duplicate"),
    with_members('"id":"a","id":"a"', "duplicate"),
    with_members('"status":1,"stat\\u0075s":1', "duplicate"),
    (b'{"message":{"to":"a@b","template":"t"},"message":{"to":"a@b","template":"t"}}', "duplicate"),
    (b'{"type":"a","type":"b","message":{"to":"a@b","template":"t"}}', "duplicate"),
    with_members('"data":{"x":' + "[" * 30 + "]" * 30 + "}", "depth"),
    with_members('"x":' + '{"x":' * 31 + "1" + "}" * 31, "depth"),
    with_members('"data":{"x":' + "[" * 29 + "]" * 29 + "}", None),
    with_members('"data":{"x":"' + "x" * (900 * 1024) + '"}', "size"),
    with_members('"subject":"' + "ä" * 500 + '"', "bytes"),
    with_members('"subject":"' + "ä" * 499 + '"', None),
    with_members('"from":"' + "a" * 65 + '@b"', "bytes"),
    with_members('"from":"' + "a" * 64 + '@b"', None),
    with_members('"from":"a@' + "b" * 64 + '"', "bytes"),
    with_members('"from":"aa@' + ".".join(["b" * 62] * 4) + 'b"', "bytes"),  # 255
    with_members('"from":"' + "ä" * 497 + ' <a@b>"', "bytes"),
    with_members('"from":"' + "n" * 992 + ' <a@b>"', None),
    with_members('"from":"' + "n" * 993 + ' <a@b>"', None),
    (b'{"type":"' + "ä".encode() * 129 + b'","message":{"to":"a@b","template":"t"}}', "bytes"),
    with_members('"data":{"x":["\\u0000"]}', "nul"),
    with_members('"data":{"\\u0000":1}', "nul"),
    with_members('"status":"\\u0000"', "nul"),
    with_members('"x\\u0000":1', "nul"),
    with_members('"subject":"\\ud800"', "surrogate"),
    with_members('"data":{"x":"\\udc00"}', "surrogate"),
    with_members('"data":{"\\udfff":"\\udbff\\udbff"}', "surrogate"),
    with_members('"timestamp":"2025-02-29T00:00:00Z"', "calendar"),
    with_members('"timestamp":"2025-04-31T00:00:00Z"', "calendar"),
    with_members('"data":{"x":1e999}', "number"),
    with_members('"retry_count":-1e400', "number"),
    with_members('"x":0.0000000001e-2147483639', "number"),
    with_members('"max_retries":1e-400', "number"),
    with_members('"cc":["a@b","a@b"],"bcc":[' + ",".join(['"a@b"'] * 48) + "]", "recipients"),
    with_members('"cc":["a@b","a@b"],"bcc":[' + ",".join(['"a@b"'] * 47) + "]", None),
    with_members('"headers":{"X-A":"1","x-a":"2"}', "case"),
    with_members('"headers":{"X-A":"' + "v" * 994 + '"}', "header"),
    with_members('"headers":{"X-A":"' + "ä" * 497 + '"}', "header"),
    with_members('"headers":{"X-A":"1","X-A":"2"}', "duplicate"),
    with_members('"metadata":{"a":"1","a":"2"}', "duplicate"),
    with_members('"metadata":{"' + "ä" * 33 + '":"1"}', "bytes"),
    with_members('"tags":["' + "ä" * 65 + '"]', "bytes"),
    with_members('"attachments":[{"filename":"a","content":"QUJD","filename":"a"}]', "duplicate"),
    with_members('"attachments":[{"filename":"a","content":"QUJD","x":["\\u0000"]}]', "nul"),
    with_members('"attachments":[{"filename":"a","content":"QUJD","x":1e400}]', "number"),
    with_members('"attachments":[{"filename":"' + "ä" * 128 + '","content":"QUJD"}]', "bytes"),
    with_members('"attachments":[{"filename":"a","content":"QUJD","content_id":"x"},{"filename":"b","content":"QUJD","content_id":"x"}]',
                 "content_id"),
    with_members('"attachments":[{"filename":"a","content":"\\u0051\\/=="}]', None),
    with_members('"expires_at":"2025-12-25T20:00:00Z","scheduled_at":"2025-12-25T20:00:00Z"', "expiry"),
    with_members('"expires_at":"2025-12-25T20:00:01Z","scheduled_at":"2025-12-25T21:00:00+01:00"', None),
    with_members('"expires_at":"0001-01-01T00:00:00Z","scheduled_at":"2025-12-25T20:00:00Z"', None),
]
RAW += [(('{"message":{"to":"a@b","subject":"s",' + members + "}}").encode(), rule) for members, rule in (
    ('"html":"<p>","html":"<p>"', "duplicate"), ('"text":"\\ud800"', "surrogate"), ('"text":"\\u0000"', None), ('"text":"x","data":{ }', None),
    ('"html":"<p>","text":"x","data":{"a":1}', None), ('"html":"<p>","data":{},"template":""', None), ('"template":0,"text":null', None),
)]


def generated():
    yield json.dumps(SEED, indent=2).encode()
    yield json.dumps(MINIMAL).encode()
    for base in (SEED, MINIMAL, AS_IT_IS):
        for field, values in VALUES.items():
            for value in values:
                yield json.dumps(base | {"message": base["message"] | {field: value}}).encode()
        for value in TYPES:
            yield json.dumps(base | {"type": value}, ensure_ascii=False).encode()
    dice = random.Random(1)
    for _ in range(1000):  # several fields at once, in any order, some of them missing
        message = {field: dice.choice(values) for field, values in VALUES.items() if dice.random() < 0.3}
        members = list((dict(SEED["message"]) | message).items())
        dice.shuffle(members)
        event = [("message", dict(members[: dice.randrange(8, 16)])), ("type", dice.choice(TYPES))]
        dice.shuffle(event)
        yield json.dumps(dict(event), ensure_ascii=dice.random() < 0.5, indent=dice.choice([None, 1])).encode()


def parse(document):
    def refuse(name):
        raise ValueError(name)

    return json.loads(document.decode("utf-8"), parse_constant=refuse)


class SchemaAgreement(unittest.TestCase):
    judge = schema = ""

    @classmethod
    def setUpClass(cls):
        with open(cls.schema, encoding="utf-8") as file:
            cls.document = json.load(file)
        Draft202012Validator.check_schema(cls.document)
        cls.validator = Draft202012Validator(cls.document)

    def schema_accepts(self, document):
        try:
            value = parse(document)
        except (ValueError, RecursionError):
            return False
        return self.validator.is_valid(value)

    def codec_verdicts(self, documents):
        lines = "".join(document.hex() + "\n" for document in documents)
        judged = subprocess.run([self.judge], input=lines, capture_output=True, text=True, check=True, timeout=100)
        verdicts = judged.stdout.splitlines()
        self.assertEqual(len(verdicts), len(documents))
        return verdicts

    def test_same_verdict_on_every_document(self):
        corpus = RAW + [(document, None) for document in generated()]
        verdicts = self.codec_verdicts([document for document, _ in corpus])
        accepted = rejected = 0
        for (document, rule), verdict in zip(corpus, verdicts):
            codec, schema = verdict == "accept", self.schema_accepts(document)
            accepted += codec
            rejected += not codec
            with self.subTest(document=document[:300], codec=verdict, schema=schema):
                # A rule that the schema could express after all, or that the codec does not enforce, is red, too.
                self.assertEqual((codec, schema), (False, True) if rule else (codec, codec))
        print(f"{len(corpus)} documents: {accepted} accepted, {rejected} rejected", file=sys.stderr)
        self.assertGreater(min(accepted, rejected), 200)

    def test_every_rule_beyond_the_schema_is_in_the_corpus(self):
        self.assertEqual({rule for _, rule in RAW if rule}, set(RULES))

    def test_examples_of_the_schema_are_valid(self):
        examples = [json.dumps(example).encode() for example in self.document["examples"]]
        self.assertEqual(self.codec_verdicts(examples), ["accept"] * len(examples))
        self.assertTrue(all(map(self.schema_accepts, examples)))

    def test_schema_and_codec_know_the_same_fields(self):
        """Each field of the schema means something to the codec: a duplicate of it is refused."""
        message = self.document["$defs"]["message"]["properties"]
        documents = [('{"message":{"%s":null,"%s":null}}' % (name, name)).encode() for name in message]
        for name, verdict in zip(message, self.codec_verdicts(documents)):
            self.assertEqual(verdict, f"reject /{name}: {name} is given twice")
        self.assertEqual(set(message), set(VALUES) - {"tracking", "To", "message"})


if __name__ == "__main__":
    SchemaAgreement.judge, SchemaAgreement.schema = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1])
