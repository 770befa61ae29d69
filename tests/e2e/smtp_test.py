"""To Debian's Postfix: TLS, AUTH, and that a mail is in the mailbox as it was posted."""

import base64
import random
import re

import e2e
from postbus_process import post, wait_until
from postfix_server import PASSWORD, USER, Postfix

# What a text may hold: letters of other alphabets, characters outside the BMP, lines that a mail cannot have as they are,
# and lines that mean something to SMTP or to a mailbox file.
TEXT = "\n".join(
    ["Grüße aus Köln", "日本語の本文", "👩‍🚀 emoji 🎉", ".", "..", ". a leading dot", ".\t", "From here on", "x" * 5000,
     "trailing blanks  ", "tab\tand = and =3D", "", "end"]
)  # fmt: skip
SUBJECT = "Ü, 日本語 and 🎉: " + "a long subject " * 6

# What a server might take for the end of the mail, and a mail behind it. 20 of them.
SMUGGLED = "MAIL FROM:<evil@evil.example>\r\nRCPT TO:<victim@evil.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"
ENDS = ["\r\n.\r\n", "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n\n.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\n",
        "\r\n..\r\n", "\r\n .\r\n", "\r\n.\t\r\n", "\r\n. \r\n", "\r\n.\v\r\n", "\n.\r", "\r\n.\r\n.\r\n", "\r\n\u2028.\r\n",
        "\r\n\u0085.\r\n", "\f.\f\r\n.\r\n"]  # fmt: skip


class ToPostfix(e2e.TestCase):
    def setUp(self):
        super().setUp()
        if missing := Postfix.missing():
            raise e2e.unittest.SkipTest(f"Postfix cannot run; it needs {missing}")
        self.add_template("letter", subject="A letter", text="{{Text}}\n", html="<p>{{Text}}</p>\n")
        self.postfix = self.enterContext(Postfix(self.directory / "postfix"))

    def secured(self, **options) -> str:
        return self.smtp(host="localhost", port=self.postfix.port, tls="starttls", tls_ca_file=self.postfix.ca_file,
                         **{"username": USER, "password": PASSWORD, **options})  # fmt: skip

    def bare(self, **options) -> str:
        return self.smtp(host="localhost", port=self.postfix.bare_port, tls="none", **options)

    def start(self, transport: str):
        postbus = self.postbus(self.write_config(self.queue_sqlite(), transport))
        postbus.start()
        return postbus

    def accepted(self, postbus, **fields) -> str:
        answer = post(postbus.api, {"to": f"ada@{e2e.DOMAIN}", "template": "letter", "data": {"Text": TEXT}, **fields})
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json["id"]

    def kept(self, id: str):
        """The mail with this id, once it is in the mailbox."""
        found = wait_until(lambda: [mail for mail in self.postfix.mails() if f"<{id}@" in mail["Message-ID"]],
                           e2e.PATIENCE_SECONDS, f"the mail {id}")  # fmt: skip
        self.assertEqual(len(found), 1)
        return found[0]

    def check_letter(self, mail) -> None:
        self.assertEqual(mail["Subject"], SUBJECT)
        # Whether there is a line end at the end of a part is the composer's to say.
        self.assertEqual(mail.get_body(["plain"]).get_content().removesuffix("\n"), TEXT)
        in_html = re.sub(r"[\n\t]", " ", TEXT)  # as ctemplate escapes it
        self.assertEqual(mail.get_body(["html"]).get_content().removesuffix("\n"), f"<p>{in_html}</p>")

    def test_keeps_a_letter_as_it_was_posted(self):
        postbus = self.start(self.secured())
        id = self.accepted(postbus, to=f"Ada Löwe <ada@{e2e.DOMAIN}>", subject=SUBJECT)
        mail = self.kept(id)
        self.check_letter(mail)
        self.assertEqual(mail["To"], f"Ada Löwe <ada@{e2e.DOMAIN}>")
        self.assertEqual(mail["X-Original-To"], f"ada@{e2e.DOMAIN}")
        self.assertIn("with ESMTPSA", mail["Received"], "TLS (S) and AUTH (A), as the server saw it")
        self.assertEqual(postbus.stop(), 0)

    def test_keeps_it_without_8bitmime_and_smtputf8(self):
        postbus = self.start(self.bare())
        mail = self.kept(self.accepted(postbus, subject=SUBJECT))
        self.check_letter(mail)
        self.assertEqual(postbus.stop(), 0)

    def test_keeps_files_and_an_inline_image(self):
        noise = random.Random(7)
        report, image = noise.randbytes(500 * 1024), noise.randbytes(3000)
        name = "Übersicht 日本.pdf"
        for server, transport in {"secured": self.secured(), "bare": self.bare()}.items():
            with self.subTest(server):
                postbus = self.start(transport)
                answer = post(postbus.api, {
                    "to": f"ada@{e2e.DOMAIN}", "subject": SUBJECT, "text": TEXT,
                    "html": f'<p>{SUBJECT}<img src="cid:logo"></p>',
                    "attachments": [
                        {"filename": name, "content_type": "application/pdf", "content": base64.b64encode(report).decode()},
                        {"filename": "logo.png", "content_type": "image/png", "content": base64.b64encode(image).decode(),
                         "content_id": "logo"},
                    ],
                })  # fmt: skip
                self.assertEqual(answer.status, 202, answer.body)
                mail = self.kept(answer.json["id"])
                self.assertEqual(mail["Subject"], SUBJECT)
                self.assertEqual(mail.get_body(["plain"]).get_content().removesuffix("\n"), TEXT)
                self.assertIn('src="cid:logo"', mail.get_body(["html"]).get_content())
                parts = {part.get_content_type(): part for part in mail.walk() if not part.is_multipart()}
                self.assertEqual(parts["application/pdf"].get_content(), report)
                self.assertEqual(parts["application/pdf"].get_filename(), name)
                self.assertEqual(parts["image/png"].get_content(), image)
                self.assertEqual(parts["image/png"]["Content-ID"], "<logo>")
                self.assertEqual(postbus.stop(), 0)

    def test_keeps_addresses_outside_ascii_where_it_can(self):
        sender, ada, ae = "Büro <büro@bücher.example>", f"Ada <ada@bücher.{e2e.DOMAIN}>", f"ä@bücher.{e2e.DOMAIN}"
        with self.subTest("a server with SMTPUTF8"):
            postbus = self.start(self.secured())
            mail = self.kept(self.accepted(postbus, to=ae, **{"from": sender}))
            self.assertEqual(mail["X-Original-To"], ae)
            self.assertEqual(mail["Return-Path"], "<büro@bücher.example>")
            self.assertEqual((mail["To"], mail["From"]), (ae, sender))
            self.assertIn("with UTF8SMTPSA", mail["Received"], "as the server saw it")
            mail = self.kept(self.accepted(postbus, to=ada))
            self.assertEqual(mail["To"], f"Ada <ada@xn--bcher-kva.{e2e.DOMAIN}>")
            self.assertIn("with ESMTPSA", mail["Received"], "A-labels need no SMTPUTF8")
            self.assertEqual(postbus.stop(), 0)
        with self.subTest("a server without"):
            postbus = self.start(self.bare())
            mail = self.kept(self.accepted(postbus, to=ada, **{"from": "Büro <post@bücher.example>"}))
            self.assertEqual(mail["X-Original-To"], f"ada@xn--bcher-kva.{e2e.DOMAIN}")
            self.assertEqual(mail["To"], f"Ada <ada@xn--bcher-kva.{e2e.DOMAIN}>")
            self.assertEqual(mail["From"], "Büro <post@xn--bcher-kva.example>")
            self.assertEqual(mail["Return-Path"], "<post@xn--bcher-kva.example>")
            for fields in ({"to": ae}, {"from": sender}, {"reply_to": ae}):
                id = self.accepted(postbus, **fields)
                postbus.wait_for_log(f"dead-lettered.*{id}.*needs SMTPUTF8, which the server does not offer", e2e.PATIENCE_SECONDS)
                self.assertFalse([mail for mail in self.postfix.mails() if id in mail["Message-ID"]])
            self.assertEqual(postbus.stop(), 0)

    def test_takes_each_mechanism_and_refuses_a_wrong_password(self):
        for auth in ("plain", "login"):
            with self.subTest(auth):
                postbus = self.start(self.secured(auth=auth))
                self.kept(self.accepted(postbus))
                self.assertEqual(postbus.stop(), 0)
        with self.subTest("wrong password"):
            postbus = self.start(self.secured(password=f"{e2e.SECRET}, but another"))
            id = self.accepted(postbus)
            postbus.wait_for_log(r"535", e2e.PATIENCE_SECONDS)
            self.assertFalse([mail for mail in self.postfix.mails() if id in mail["Message-ID"]])
            self.assertEqual(postbus.stop(), 0)
            # Nobody is to blame but the configuration: the mail waited, and goes when it is right.
            postbus = self.start(self.secured())
            self.kept(id)
            self.assertEqual(postbus.stop(), 0)

    def test_says_what_to_do_where_there_is_no_starttls(self):
        postbus = self.start(self.smtp(host="localhost", port=self.postfix.bare_port, tls="starttls"))
        self.accepted(postbus)
        sentence = f"localhost:{self.postfix.bare_port} offers no STARTTLS; for a local test server set tls: none"
        postbus.wait_for_log(re.escape(sentence), e2e.PATIENCE_SECONDS)
        self.assertEqual(self.postfix.mails(), [])
        self.assertEqual(postbus.stop(), 0)

    def test_one_mail_for_each_attempt_at_smuggling(self):
        self.assertEqual(len(ENDS), 20)
        postbus = self.start(self.secured())
        ids = {self.accepted(postbus, subject="Hello", data={"Text": f"before{end}{SMUGGLED}"}) for end in ENDS}
        for id in ids:
            self.assertIn("MAIL FROM:<evil@evil.example>", self.kept(id).get_body(["plain"]).get_content())
        self.assertEqual(postbus.stop(), 0)
        mails = self.postfix.mails()
        self.assertEqual(len(mails), len(ENDS))
        self.assertEqual({mail["Subject"] for mail in mails}, {"Hello"})
        self.assertEqual({mail["Return-Path"] for mail in mails}, {"<noreply@usualstore.com>"})


class Documentation(e2e.TestCase):
    def test_the_readmes_options_are_valid(self):
        readme = (e2e.ROOT / "plugins" / "smtp" / "README.md").read_text()
        blocks = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
        self.assertEqual(len(blocks), 2)
        (self.directory / "mailtrap").write_text(e2e.SECRET)
        for block in blocks:
            block = block.replace("/run/secrets/mailtrap", str(self.directory / "mailtrap"))
            if not block.startswith("options:"):
                block = "options:\n" + "".join(f"  {line}\n" for line in block.splitlines())
            transport = "\n  primary:\n    plugin: smtp\n" + "".join(f"    {line}\n" for line in block.splitlines())
            config = self.write_config(self.queue_sqlite())
            text = re.sub(r"transports: .*\n", lambda _: f"transports:{transport}", config.read_text())
            config.write_text(text)
            done = self.run_postbus("validate", "-c", config)
            self.assertEqual(done.returncode, 0, f"{text}\n{done.stderr}")


if __name__ == "__main__":
    e2e.main()
