"""postbus pause and resume: a transport of a running host is taken out of use and back."""

import urllib.parse

import e2e
from postbus_process import Client, post, wait_until

EXIT_USAGE, EXIT_UNAVAILABLE = 64, 69
NOTICE = {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}


class Pause(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.config = self.write_config(self.queue_sqlite(), "{ plugin: file, options: { directory: files } }")
        self.host = self.postbus(self.config)
        self.host.start()

    def ask(self, *arguments, code: int = 0) -> str:
        admin = urllib.parse.urlsplit(self.host.admin).netloc
        done = self.run_postbus(*arguments, "-c", self.config, "--set", f"admin.listen={admin}")
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr if code else done.stdout

    def await_metric(self, line: str) -> None:
        with Client(self.host.admin) as client:
            wait_until(lambda: line in client.request("GET", "/metrics").body.decode(), e2e.PATIENCE_SECONDS, line)

    def mails(self) -> list:
        return list((self.directory / "files").glob("*.eml"))

    def test_holds_over_a_restart_until_it_is_resumed(self):
        self.assertEqual(self.ask("pause", "primary"), "primary is paused until it is resumed\n")
        self.assertEqual(post(self.host.api, NOTICE).status, 202)
        self.assertEqual(self.host.stop(), 0)
        self.host.start()
        self.assertEqual(post(self.host.api, NOTICE).status, 202)
        self.await_metric('postbus_transport_paused{transport="primary"} 1')
        self.await_metric('postbus_email_inflight{shard="0"} 2')
        self.assertEqual(self.mails(), [])
        self.assertEqual(self.ask("resume", "primary"), "primary goes on\n")
        wait_until(lambda: len(self.mails()) == 2, e2e.PATIENCE_SECONDS, "both mails")
        self.assertEqual(self.host.stop(), 0)

    def test_with_an_end_and_what_is_refused(self):
        self.assertRegex(self.ask("pause", "primary", "--for", "1h"), r"^primary is paused until \d{4}-\d\d-\d\dT")
        self.assertIn("this host has primary", self.ask("pause", "primry", code=EXIT_USAGE))
        self.assertIn("--for takes a duration", self.ask("pause", "primary", "--for", "soon", code=EXIT_USAGE))
        self.assertEqual(self.host.stop(), 0)
        self.assertIn("is the host running?", self.ask("pause", "primary", code=EXIT_UNAVAILABLE))


if __name__ == "__main__":
    e2e.main()
