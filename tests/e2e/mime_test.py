"""Mails with files, inline images, cc, bcc and HTML of their own, from HTTP into a real mailbox; and staging, which never
writes to a customer."""

import base64
import email
import email.policy
import pathlib
import random

import e2e
from postbus_process import Mailbox, post, wait_until


def lines(part):
    """What a text part says; its last line end belongs to the boundary."""
    return part.get_content().splitlines()


class Mime(e2e.OnSqlite, e2e.TestCase):
    def start(self, **top):
        self.mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        self.postbus_process = self.postbus(self.write_config(self.queue(), **top), environment=self.mailbox.environment)
        self.postbus_process.start()

    def send(self, mail):
        answer = post(self.postbus_process.api, mail)
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json["id"]

    def received(self, id):
        def find():
            return next((entry for entry in self.mailbox.entries() if id in entry["message_id"]), None)

        entry = wait_until(find, e2e.PATIENCE_SECONDS, f"the mail {id}")
        raw = pathlib.Path(entry["file"]).read_bytes()
        return entry, email.message_from_bytes(raw, policy=email.policy.default)

    def test_a_mail_with_everything(self):
        self.start()
        attachment = random.Random(1).randbytes(500 * 1024)
        logo = b"\x89PNG\r\n\x1a\n"
        unsubscribe = f"<https://usualstore.com/u?t={'x' * 300}>, <mailto:u@{e2e.DOMAIN}>"
        html = "<h1>Grüße</h1>\n<p>日本語 🎉 <a href='https://usualstore.com/o/1'>order</a></p>\n.\n" + "y" * 5000 + "<img src='cid:logo'>\n"
        id = self.send({
            "to": [f"Ada <ada@{e2e.DOMAIN}>", f"bob@{e2e.DOMAIN}"],
            "cc": f"Jürgen <cc@{e2e.DOMAIN}>",
            "bcc": [f"secret@{e2e.DOMAIN}"],
            "reply_to": f"support@{e2e.DOMAIN}",
            "subject": "Ihre Rechnung für März 🎉",
            "html": html,
            "headers": {"List-Unsubscribe": unsubscribe, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
            "tags": ["invoice"],
            "metadata": {"order": "1"},
            "attachments": [
                {"filename": "Rechnung für März.pdf", "content": base64.b64encode(attachment).decode()},
                {"filename": "logo.png", "content": base64.b64encode(logo).decode(), "content_id": "logo"},
            ],
        })
        entry, mail = self.received(id)
        self.assertEqual(entry["rcpt_tos"], [f"{name}@{e2e.DOMAIN}" for name in ("ada", "bob", "cc", "secret")])
        self.assertNotIn("secret@", mail.as_string())
        self.assertEqual(mail["To"], f"Ada <ada@{e2e.DOMAIN}>, bob@{e2e.DOMAIN}")
        self.assertEqual(mail["Cc"], f"Jürgen <cc@{e2e.DOMAIN}>")
        self.assertEqual(mail["Reply-To"], f"support@{e2e.DOMAIN}")
        self.assertEqual(mail["Subject"], "Ihre Rechnung für März 🎉")
        self.assertEqual(mail["List-Unsubscribe"], unsubscribe)
        self.assertEqual(mail["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click")
        self.assertEqual(mail["Auto-Submitted"], "auto-generated")

        self.assertEqual(mail.get_content_type(), "multipart/mixed")
        related, file = mail.iter_parts()
        self.assertEqual(related.get_content_type(), "multipart/related")
        alternative, image = related.iter_parts()
        text, html_part = alternative.iter_parts()
        self.assertEqual(lines(html_part), html.splitlines())
        self.assertEqual(lines(text)[:3], ["Grüße", "", "日本語 🎉 order (https://usualstore.com/o/1)"])
        self.assertEqual(file.get_content_type(), "application/pdf")
        self.assertEqual(file.get_filename(), "Rechnung für März.pdf")
        self.assertEqual(file.get_content(), attachment)
        self.assertEqual(image["Content-ID"], "<logo>")
        self.assertEqual(image.get_content_disposition(), "inline")
        self.assertEqual(image.get_content(), logo)

    def test_a_template_without_text_gets_one(self):
        self.add_template("html-only", subject="Hi", html="<p>Hello <b>{{Name}}</b></p>\n")
        self.start()
        _, mail = self.received(self.send({"to": f"ada@{e2e.DOMAIN}", "template": "html-only", "data": {"Name": "Ada"}}))
        text, html = mail.iter_parts()
        self.assertEqual(lines(text), ["Hello Ada"])
        self.assertEqual(lines(html), ["<p>Hello <b>Ada</b></p>"])

    def test_redirect_to(self):
        self.start(recipients=f'{{ redirect_to: "QA <qa@{e2e.DOMAIN}>" }}')
        self.postbus_process.wait_for_log("every mail goes to recipients.redirect_to", 30)
        id = self.send({"to": f"Customer <customer@{e2e.DOMAIN}>", "cc": f"cc@{e2e.DOMAIN}", "bcc": f"secret@{e2e.DOMAIN}", "template": "notice"})
        entry, mail = self.received(id)
        self.assertEqual(entry["rcpt_tos"], [f"qa@{e2e.DOMAIN}"])
        self.assertEqual(mail["To"], f"QA <qa@{e2e.DOMAIN}>")
        self.assertIsNone(mail["Cc"])
        self.assertEqual(mail["X-Postbus-Original-To"], f"customer@{e2e.DOMAIN}, cc@{e2e.DOMAIN}")
        self.assertNotIn("secret@", mail.as_string())

    def test_allow(self):
        self.start(recipients=f'{{ allow: ["*+test@{e2e.DOMAIN}"] }}')
        id = self.send({"to": [f"ada+TEST@{e2e.DOMAIN}", f"customer@{e2e.DOMAIN}"], "template": "notice"})
        entry, _ = self.received(id)
        self.assertEqual(entry["rcpt_tos"], [f"ada+TEST@{e2e.DOMAIN}"])
        wait_until(lambda: self.postbus_process.metric("postbus_email_dlq_total") == 1, 30, "the customer's dead letter")
        self.postbus_process.wait_for_log("recipient_not_allowed", 30)


if __name__ == "__main__":
    e2e.main()
