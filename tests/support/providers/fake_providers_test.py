"""The fake providers say yes to what AWS's own library signs, and no to what their APIs refuse."""

import json
import pathlib
import ssl
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

import fake_providers
from fake_providers import FakeProviders, Rule

try:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
except ImportError:
    botocore = None

MAIL = {"from": {"email": "shop@example.com"}, "to": [{"email": "ada@example.org"}], "subject": "s", "text": "t"}


class Fakes(unittest.TestCase):
    def setUp(self):
        directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="providers-")))
        self.providers = self.enterContext(FakeProviders(directory))
        self.context = ssl.create_default_context(cafile=self.providers.ca_file)

    def ask(self, path: str, value, headers=None, method: str = "POST", data: bytes | None = None):
        headers = headers or {"Authorization": f"Bearer {fake_providers.TOKEN}", "Content-Type": "application/json"}
        body = data if data is not None else json.dumps(value).encode() if value is not None else None
        request = urllib.request.Request(self.providers.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()


@unittest.skipUnless(botocore, "botocore is not there; it is Debian's package python3-botocore")
class Signatures(Fakes):
    def signed(self, secret: str = fake_providers.SECRET_ACCESS_KEY, token: str | None = None, body: bytes = b'{"x":"1"}'):
        credentials = botocore.credentials.Credentials(fake_providers.ACCESS_KEY_ID, secret, token)
        request = botocore.awsrequest.AWSRequest(
            "POST", f"{self.providers.url}/v2/email/outbound-emails", data=body, headers={"Content-Type": "application/json"}
        )
        botocore.auth.SigV4Auth(credentials, "ses", fake_providers.REGION).add_auth(request)
        return dict(request.headers)

    def error_type(self, headers: dict, body: bytes = b'{"x":"1"}') -> str:
        _, answer, _ = self.ask("/v2/email/outbound-emails", None, headers, data=body)
        return answer["x-amzn-ErrorType"].partition(":")[0]

    def test_botocore_passes(self):
        for token in (None, "session/token=="):
            self.assertEqual(self.error_type(self.signed(token=token)), "BadRequestException")  # past the signature

    def test_what_is_changed_does_not(self):
        wrong = "InvalidSignatureException"
        self.assertEqual(self.error_type(self.signed("another secret")), wrong)
        self.assertEqual(self.error_type(self.signed(), b'{"x":"2"}'), wrong)
        self.assertEqual(self.error_type({**self.signed(), "Content-Type": "text/plain"}), wrong)
        self.assertEqual(self.error_type({**self.signed(), "X-Amz-Date": "20260102T030405Z"}), wrong)
        self.assertEqual(self.error_type({**self.signed(), "X-Amz-Security-Token": "new"}), wrong)
        self.assertEqual(self.error_type({"Content-Type": "application/json"}), "MissingAuthenticationTokenException")


class Answers(Fakes):
    def test_unknown_fields_and_tokens_are_refused(self):
        self.assertEqual(self.ask("/api/send", MAIL)[0], 200)
        self.assertEqual(self.ask("/api/send", {**MAIL, "custom_args": {}})[0], 400)
        self.assertEqual(self.ask("/v3/mail/send", MAIL)[0], 400)
        self.assertEqual(self.ask("/api/send", MAIL, {"Content-Type": "application/json"})[0], 401)
        self.assertEqual(self.ask("/elsewhere", MAIL)[0], 404)
        self.assertEqual(len(self.providers.mails()), 1)

    def test_rules_and_recipients(self):
        self.providers.rules.append(Rule(times=1, status=503))
        self.assertEqual(self.ask("/api/send", MAIL)[0], 503)
        self.assertEqual(self.ask("/api/send", MAIL)[0], 200)
        status, headers, _ = self.ask("/api/send", {**MAIL, "to": [{"email": "answer-429-after-3+x@example.org"}]})
        self.assertEqual((status, headers["Retry-After"]), (429, "3"))
        self.assertIsNone(self.ask("/api/send", {**MAIL, "to": [{"email": "answer-429@example.org"}]})[1]["Retry-After"])

    def test_a_rate(self):
        self.providers.mailtrap.window = fake_providers.Window(3, 3600)
        self.assertEqual([self.ask("/api/send", MAIL)[0] for _ in range(4)], [200, 200, 200, 429])

    def test_items_of_a_batch(self):
        self.providers.rules.append(Rule(items=[1]))
        _, _, body = self.ask("/api/batch", {"requests": [MAIL, MAIL, {**MAIL, "subject": ""}]})
        self.assertEqual([one["success"] for one in json.loads(body)["responses"]], [True, False, False])

    def test_control(self):
        self.assertEqual(self.ask("/_control/rules", [{"status": 500}])[0], 200)
        self.assertEqual(self.ask("/api/send", MAIL)[0], 500)
        self.ask("/_control/rules", [])
        self.ask("/api/send", {**MAIL, "custom_variables": {"postbus_id": "id-1"}})
        mails = json.loads(self.ask("/_control/mails", None, method="GET")[2])
        self.assertEqual([mail["id"] for mail in mails], ["id-1"])
        self.assertEqual(json.loads(self.ask("/_control/ids", None, method="GET")[2]), ["id-1"])
        self.assertEqual(json.loads(self.ask("/_control/count", None, method="GET")[2]), 1)
        self.assertNotEqual(mails[0]["payload"], {})

    def test_a_batch_without_an_answer_was_taken_whole(self):
        self.providers.rules.append(Rule(times=1, close=True))
        mails = [{**MAIL, "custom_variables": {"postbus_id": f"id-{i}"}} for i in range(3)]
        with self.assertRaises(OSError):
            self.ask("/api/batch", {"requests": mails})
        self.assertEqual(self.providers.ids(), ["id-0", "id-1", "id-2"])
        self.assertFalse(self.providers.mails()[0].answered)

    def test_ids_only(self):
        self.providers.ids_only = True
        self.ask("/api/send", MAIL)
        self.assertEqual([mail.payload for mail in self.providers.mails()], [{}])


if __name__ == "__main__":
    program = unittest.main(exit=False)
    for test, reason in program.result.skipped:
        print(f"SKIPPED: {test.id()}: {reason}")
    sys.exit(not program.result.wasSuccessful())
