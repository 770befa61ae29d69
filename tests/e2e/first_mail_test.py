"""One mail, from HTTP through the queue, the renderer and the transport into a real mailbox."""

import email
import email.policy
import email.utils
import pathlib
import time

import e2e
from postbus_process import Mailbox, get, post, wait_until


class FirstMail(e2e.TestCase):
    def mail_in_mailbox(self, mailbox: Mailbox, id: str):
        def find():
            return next((entry for entry in mailbox.entries() if id in entry["message_id"]), None)

        entry = wait_until(find, e2e.PATIENCE_SECONDS, f"the mail {id}")
        return entry, email.message_from_bytes(pathlib.Path(entry["file"]).read_bytes(), policy=email.policy.default)

    def check_a_mail_arrives(self):
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        postbus = self.postbus(self.write_config(self.queue()), environment=mailbox.environment)
        postbus.start()
        link = f"https://usualstore.com/reset?token={e2e.SECRET}&user=42"
        request = {
            "to": f"Jürgen Groß <jurgen@{e2e.DOMAIN}>",
            "subject": "Grüße: reset your password",
            "template": "password-reset",
            "data": {"Link": link},
            "priority": "high",
        }
        before = time.time()
        answer = post(postbus.api, request)
        self.assertEqual(answer.status, 202, answer.body)
        id = answer.json["id"]
        self.assertEqual(answer.json, {"id": id, "status": "pending"})
        self.assertEqual(answer.headers["Location"], f"/v1/emails/{id}")

        entry, mail = self.mail_in_mailbox(mailbox, id)
        self.assertEqual(entry["mail_from"], "noreply@usualstore.com")
        self.assertEqual(entry["rcpt_tos"], [f"jurgen@{e2e.DOMAIN}"])
        self.assertEqual(mail["Subject"], "Grüße: reset your password")
        self.assertEqual(mail["To"], f"Jürgen Groß <jurgen@{e2e.DOMAIN}>")
        self.assertEqual(mail["From"], e2e.FROM)
        self.assertEqual(mail["Message-ID"], f"<{id}@usualstore.com>")
        date = email.utils.parsedate_to_datetime(mail["Date"]).timestamp()
        self.assertTrue(before - 1 <= date <= time.time(), mail["Date"])
        self.assertEqual(mail.get_content_type(), "multipart/alternative")
        self.assertEqual([part.get_content_type() for part in mail.iter_parts()], ["text/plain", "text/html"])
        text, html = (part.get_content() for part in mail.iter_parts())
        self.assertIn(link, text.splitlines())
        self.assertIn(f'href="{link.replace("&", "&amp;")}"', html)

        self.assertEqual(postbus.metric("postbus_queue_published_total"), 1)
        wait_until(lambda: postbus.metric("postbus_queue_completed_total") == 1, 10, "the end of the mail's turn")
        self.assertEqual(get(postbus.admin, "/readyz").status, 200)
        self.assertEqual(postbus.stop(), 0)
        self.assertIn(id, postbus.output())


class OnSqlite(e2e.OnSqlite, FirstMail):
    def test_a_mail_arrives(self):
        self.check_a_mail_arrives()


class OnKafka(e2e.OnKafka, FirstMail):
    def test_a_mail_arrives(self):
        self.check_a_mail_arrives()


if __name__ == "__main__":
    e2e.main()
