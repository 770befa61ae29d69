"""Mails through the HTTP transports to providers that behave as documented, and to such that do not."""

import email
import email.policy
import http.server
import re
import sys
import threading

import e2e
from postbus_process import post, wait_until

sys.path.insert(0, str(e2e.ROOT / "tests" / "support" / "providers"))
import fake_providers  # noqa: E402
from fake_providers import FakeProviders, Rule  # noqa: E402

PROVIDERS = {
    "mailtrap": {"token": fake_providers.TOKEN},
    "sendgrid": {"api_key": fake_providers.TOKEN},
    "ses": {
        "region": fake_providers.REGION,
        "access_key_id": fake_providers.ACCESS_KEY_ID,
        "secret_access_key": fake_providers.SECRET_ACCESS_KEY,
    },
}


class Providers(e2e.TestCase):
    def start(self, provider: str, providers: FakeProviders, retry: str = "{ backoff: [1s] }", **options):
        options = {"base_url": providers.url, "ca_file": providers.ca_file, **PROVIDERS[provider], **options}
        written = ", ".join(f'{name}: "{value}"' for name, value in options.items() if value is not None)
        config = self.write_config(
            self.queue_sqlite(), f"{{ plugin: {provider}, options: {{ {written} }} }}", retry=retry
        )
        postbus = self.postbus(config)
        postbus.start()
        return postbus

    def fakes(self, **arguments) -> FakeProviders:
        return self.enterContext(FakeProviders(self.directory / "providers", **arguments))

    def send(self, postbus, to: list[str]) -> set[str]:
        accepted: list[str] = []
        e2e.post_all(postbus.api, [{"to": f"{name}@{e2e.DOMAIN}", "template": "notice"} for name in to], accepted)
        self.assertEqual(len(accepted), len(to))
        return set(accepted)

    def wait_for(self, providers: FakeProviders, ids: set[str]) -> None:
        wait_until(lambda: ids <= set(providers.ids()), e2e.PATIENCE_SECONDS, f"{len(ids)} mails at the provider")


class EachProvider:
    """Mixed with Providers: `provider` is one of them."""

    provider = ""

    def test_each_arrives_once(self):
        provider, providers = self.provider, self.fakes()
        postbus = self.start(provider, providers)
        ids = self.send(postbus, [f"user-{i}" for i in range(300)])
        self.wait_for(providers, ids)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), ids)
        self.assertLess(providers.connections, 100, "connections are kept")

    def test_what_goes_wrong_and_comes_back(self):
        provider, providers = self.provider, self.fakes()
        retry_after = {"Retry-After": "1"}
        providers.rules = [
            Rule(times=3, status=429, message="too fast", headers=retry_after),
            Rule(times=2, status=429, message="too fast"),
            Rule(times=2, status=503, message="down"),
            Rule(times=1, status=500, message="broken"),
            Rule(times=1, status=401, message="who are you"),
        ]
        if provider == "mailtrap":  # says nothing of how long, so it is the window of its rate: 10 s
            providers.rules[1].headers = retry_after
        postbus = self.start(provider, providers)
        ids = self.send(postbus, [f"user-{i}" for i in range(50)])
        self.wait_for(providers, ids)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), ids)
        self.assertEqual(providers.rules, [])

    def test_a_wedge_is_in_doubt_by_its_deadline_and_stops_nobody(self):
        provider, providers = self.provider, self.fakes()
        postbus = self.start(provider, providers, "{ max_retries: 0 }", timeout="2s", max_requests=8,
                             **({"max_batch": 1} if provider == "mailtrap" else {}))  # fmt: skip
        stuck = self.send(postbus, ["hang+1", "hang+2", "close+3"])
        ids = self.send(postbus, [f"user-{i}" for i in range(50)])
        self.wait_for(providers, ids | stuck)
        for id in stuck:
            postbus.wait_for_log(f"dead.lettered.*{id}.*no answer", e2e.PATIENCE_SECONDS)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), ids | stuck)

    def test_refused_for_good(self):
        provider, providers = self.provider, self.fakes()
        postbus = self.start(provider, providers)
        (bad,) = self.send(postbus, ["answer-400"])
        good = self.send(postbus, [f"user-{i}" for i in range(10)])
        postbus.wait_for_log(f"dead.lettered.*{bad}.*told to", e2e.PATIENCE_SECONDS)
        self.wait_for(providers, good)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), good)

    def test_a_server_that_is_not_the_provider_gets_nothing(self):
        provider, providers = self.provider, self.fakes()
        postbus = self.start(provider, providers, ca_file=None)  # the system's
        self.send(postbus, ["ada"])
        postbus.wait_for_log("name your own CA's certificate in ca_file", e2e.PATIENCE_SECONDS)
        postbus.kill()
        self.assertEqual(providers.requests, 0)

    def test_a_certificate_for_another_name_gets_nothing(self):
        providers = self.fakes(names=("mail.example.net",))
        postbus = self.start(self.provider, providers)
        self.send(postbus, ["ada"])
        postbus.wait_for_log("SSL: no alternative certificate subject name matches", e2e.PATIENCE_SECONDS)
        postbus.kill()
        self.assertEqual(providers.requests, 0)

    def test_wrong_credentials_lose_nothing(self):
        provider, providers = self.provider, self.fakes()
        wrong = {"mailtrap": "token", "sendgrid": "api_key", "ses": "secret_access_key"}[provider]
        postbus = self.start(provider, providers, **{wrong: f"{e2e.SECRET}-wrong"})
        ids = self.send(postbus, ["ada", "bob"])
        postbus.wait_for_log("40[13] (Unauthorized|InvalidSignature)", e2e.PATIENCE_SECONDS)
        self.assertEqual(postbus.stop(), 0)
        self.assertEqual(providers.ids(), [])
        postbus = self.start(provider, providers)
        self.wait_for(providers, ids)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), ids)


class Mailtrap(EachProvider, Providers):
    provider = "mailtrap"


class SendGrid(EachProvider, Providers):
    provider = "sendgrid"


class Ses(EachProvider, Providers):
    provider = "ses"


class What(Providers):
    """What the provider gets of a mail."""

    MAIL = {
        "from": "Jürgen Groß <shop@usualstore.com>",
        "to": [f"Ada Lovelace <ada@{e2e.DOMAIN}>", f"bob@{e2e.DOMAIN}"],
        "subject": "Grüße 日本語 \"quoted\"",
        "template": "notice",
    }

    def get(self, provider: str) -> tuple[str, fake_providers.Mail]:
        providers = self.fakes()
        postbus = self.start(provider, providers)
        answer = post(postbus.api, self.MAIL)
        self.assertEqual(answer.status, 202, answer.body)
        self.wait_for(providers, {answer.json["id"]})
        postbus.wait_for_log(f"sent.*{answer.json['id']}.*{providers.mails()[0].provider_id}", e2e.PATIENCE_SECONDS)
        self.assertEqual(postbus.stop(), 0)
        self.assertEqual(len(providers.mails()), 1)
        return answer.json["id"], providers.mails()[0]

    TO = [{"email": f"ada@{e2e.DOMAIN}", "name": "Ada Lovelace"}, {"email": f"bob@{e2e.DOMAIN}"}]
    SENDER = {"email": "shop@usualstore.com", "name": "Jürgen Groß"}

    def test_mailtrap(self):
        id, mail = self.get("mailtrap")
        self.assertEqual(mail.payload, {
            "from": self.SENDER,
            "to": self.TO,
            "subject": self.MAIL["subject"],
            "text": "Nothing to fill in.\n",
            "html": "<p>Nothing to fill in.</p>\n",
            "headers": {"Auto-Submitted": "auto-generated"},
            "custom_variables": {"postbus_id": id},
        })  # fmt: skip

    def test_sendgrid(self):
        id, mail = self.get("sendgrid")
        self.assertEqual(mail.payload, {
            "personalizations": [{"to": self.TO}],
            "from": self.SENDER,
            "subject": self.MAIL["subject"],
            "content": [{"type": "text/plain", "value": "Nothing to fill in.\n"},
                        {"type": "text/html", "value": "<p>Nothing to fill in.</p>\n"}],
            "headers": {"Auto-Submitted": "auto-generated"},
            "custom_args": {"postbus_id": id},
        })  # fmt: skip

    def test_ses(self):
        id, mail = self.get("ses")
        self.assertEqual(mail.payload["Destination"], {"ToAddresses": [one["email"] for one in self.TO]})
        message = email.message_from_bytes(mail.payload["message"].encode("latin-1"), policy=email.policy.default)
        self.assertEqual(message["Message-ID"], f"<{id}@usualstore.com>")
        self.assertEqual(message["From"], self.MAIL["from"])
        self.assertEqual(message["To"], ", ".join(self.MAIL["to"]))
        self.assertEqual(message["Subject"], self.MAIL["subject"])
        self.assertEqual(message.get_body(("plain",)).get_content().strip(), "Nothing to fill in.")


class Everything(Providers):
    """A mail with all that an event can have, at each provider."""

    def get(self, provider: str) -> fake_providers.Mail:
        providers = self.fakes()
        postbus = self.start(provider, providers)
        answer = post(postbus.api, {
            "to": f"ada@{e2e.DOMAIN}",
            "cc": [f"Cee <cc@{e2e.DOMAIN}>"],
            "bcc": [f"hidden@{e2e.DOMAIN}"],
            "reply_to": [f"Help <help@{e2e.DOMAIN}>"],
            "subject": "Your order",
            "html": "<p>Hello <img src=cid:logo></p>",
            "headers": {"X-Campaign": "spring"},
            "tags": ["order"],
            "metadata": {"order": "42"},
            "attachments": [
                {"filename": "Rechnung ü.txt", "content": "aGk=", "content_type": "text/plain"},
                {"filename": "logo.png", "content": "iVBORw==", "content_type": "image/png", "content_id": "logo"},
            ],
        })  # fmt: skip
        self.assertEqual(answer.status, 202, answer.body)
        self.wait_for(providers, {answer.json["id"]})
        self.assertEqual(postbus.stop(), 0)
        (mail,) = providers.mails()
        self.assertEqual(sorted(mail.recipients), [f"{who}@{e2e.DOMAIN}" for who in ("ada", "cc", "hidden")])
        return mail

    ATTACHMENTS = [
        {"content": "aGk=", "type": "text/plain", "filename": "Rechnung ü.txt", "disposition": "attachment"},
        {"content": "iVBORw==", "type": "image/png", "filename": "logo.png", "disposition": "inline", "content_id": "logo"},
    ]
    HELP = {"email": f"help@{e2e.DOMAIN}", "name": "Help"}

    def test_mailtrap(self):
        mail = self.get("mailtrap").payload
        self.assertEqual(mail["bcc"], [{"email": f"hidden@{e2e.DOMAIN}"}])
        self.assertEqual(mail["reply_to"], self.HELP)
        self.assertEqual(mail["attachments"], self.ATTACHMENTS)
        self.assertEqual(mail["headers"]["X-Campaign"], "spring")
        self.assertEqual((mail["category"], mail["custom_variables"]["order"]), ("order", "42"))

    def test_sendgrid(self):
        mail = self.get("sendgrid").payload
        self.assertEqual(mail["personalizations"][0]["cc"], [{"email": f"cc@{e2e.DOMAIN}", "name": "Cee"}])
        self.assertEqual(mail["reply_to_list"], [self.HELP])
        self.assertEqual(mail["attachments"], self.ATTACHMENTS)
        self.assertEqual(mail["headers"]["X-Campaign"], "spring")
        self.assertEqual((mail["categories"], mail["custom_args"]["order"]), (["order"], "42"))

    def test_ses(self):
        raw = self.get("ses").payload["message"]
        message = email.message_from_bytes(raw.encode("latin-1"), policy=email.policy.default)
        self.assertNotIn("hidden@", raw)
        self.assertEqual(message["Cc"], f"Cee <cc@{e2e.DOMAIN}>")
        self.assertEqual(message["X-Campaign"], "spring")
        files = {part.get_filename(): part.get_content_type() for part in message.walk() if part.get_filename()}
        self.assertEqual(files, {"Rechnung ü.txt": "text/plain", "logo.png": "image/png"})


class MailtrapBatch(Providers):
    def test_a_rate_of_15_requests_a_second_is_no_rate_of_mails(self):
        providers = self.fakes()
        providers.limit(providers.mailtrap)
        postbus = self.start("mailtrap", providers, max_requests=2)
        ids = self.send(postbus, [f"user-{i}" for i in range(1000)])
        self.wait_for(providers, ids)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), ids)
        print(f"1000 mails in {providers.requests} requests", flush=True)

    def test_items_that_fail_are_told_apart(self):
        providers = self.fakes()
        providers.rules = [Rule(times=1, recipient="first", latency=1), Rule(times=1, items=[1, 3])]
        postbus = self.start("mailtrap", providers, max_requests=1)
        ids = self.send(postbus, ["first"])
        wait_until(lambda: providers.requests == 1, e2e.PATIENCE_SECONDS, "the first mail at the provider")
        ids |= self.send(postbus, [f"user-{i}" for i in range(20)])
        wait_until(lambda: len(set(providers.ids())) == 19, e2e.PATIENCE_SECONDS, "the others at the provider")
        failed = ids - set(providers.ids())
        for id in failed:
            postbus.wait_for_log(f"dead.lettered.*{id}.*told to", e2e.PATIENCE_SECONDS)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), ids - failed)

    def test_the_sandbox_and_its_batch(self):
        providers = self.fakes()
        providers.rules = [Rule(provider="mailtrap", times=1, latency=0.5)]
        postbus = self.start("mailtrap", providers, max_requests=1, stream="sandbox", sandbox_id=42)
        ids = self.send(postbus, [f"user-{i}" for i in range(10)])
        self.wait_for(providers, ids)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(providers.ids(), ids)

    def test_the_sandbox_needs_its_id(self):
        with self.assertRaisesRegex(Exception, "sandbox_id: stream sandbox needs it"):
            self.start("mailtrap", self.fakes(), stream="sandbox")


class OneBadRecipient(Providers):
    def test_sendgrid_names_it_and_the_others_get_their_mail(self):
        providers = self.fakes()
        postbus = self.start("sendgrid", providers)
        to = [f"ada@{e2e.DOMAIN}", f"invalid-bob@{e2e.DOMAIN}", f"eve@{e2e.DOMAIN}"]
        id = post(postbus.api, {"to": to, "template": "notice"}).json["id"]
        self.wait_for(providers, {id})
        self.assertEqual(postbus.stop(), 0)
        self.assertEqual([sorted(mail.recipients) for mail in providers.mails()], [[to[0], to[2]]])
        self.assertTrue(re.search(f"dead.lettered.*{id}", postbus.output()), postbus.tail())


class Documented(e2e.TestCase):
    """docs/write-a-transport.md: its plugin, loaded as it says."""

    TRANSPORTS = """\
transports:
  primary: { plugin: acme-http, options: { token: "${file:/run/secrets/acme}", base_url: "http://127.0.0.1:8025" } }
"""

    def test_the_plugin_sends(self):
        got = []

        class Acme(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                got.append((self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(202)
                self.send_header("X-Acme-Id", "acme-1")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Acme)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        secret = self.directory / "acme"
        secret.write_text(f"{e2e.SECRET}\n")
        transports = self.TRANSPORTS.replace("/run/secrets/acme", str(secret)).replace("8025", str(server.server_port))
        config = self.write_config(self.queue_sqlite(), plugins=f"{{ directories: [{e2e.BUILD}/tests/plugins] }}")
        lines = [line for line in config.read_text().splitlines() if not line.startswith("transports:")]
        config.write_text("\n".join(lines) + "\n" + transports)
        postbus = self.postbus(config)
        postbus.start()
        id = post(postbus.api, {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}).json["id"]
        postbus.wait_for_log(f"sent.*{id}.*queued as acme-1", e2e.PATIENCE_SECONDS)
        self.assertEqual(postbus.stop(), 0)
        ((path, headers, body),) = got
        self.assertEqual(path, "/v1/messages")
        self.assertEqual(headers["Authorization"], f"Bearer {e2e.SECRET}")
        self.assertEqual(headers["X-Acme-To"], f"ada@{e2e.DOMAIN}")
        self.assertIn(id.encode(), body)


if __name__ == "__main__":
    e2e.main()
