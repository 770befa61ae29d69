"""Plugins built against ABI 1.0 and nothing newer (tests/abi/v1.0/): `plugins check` is content with them, and today's
postbus renders and sends by them."""

import e2e
from postbus_process import post, wait_until

KEPT = e2e.BUILD / "tests" / "abi_plugins"


class KeptPlugins(e2e.TestCase):
    def test_each_keeps_to_the_abi(self):
        for name, *options in (
            ("v1_0_transport_c",),
            ("v1_0_transport_cc", "--option", f"file={self.directory / 'log'}"),
            ("v1_0_renderer_c",),
            ("later_minor",),
        ):
            with self.subTest(name):
                done = self.run_postbus("plugins", "check", KEPT / f"{name}.so", *options)
                self.assertEqual([line for line in done.stdout.splitlines() if not line.startswith("ok ")], [])
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_mails_by_them(self):
        mails = self.directory / "mails"
        mails.mkdir()
        config = self.write_config(
            self.queue_sqlite(),
            renderer=f'{{ plugin: "{KEPT}/v1_0_renderer_c.so" }}',
            transports=f"""
{{ in_c: {{ plugin: "{KEPT}/v1_0_transport_c.so", options: {{ directory: mails }} }},
   in_cpp: {{ plugin: "{KEPT}/v1_0_transport_cc.so", options: {{ file: log, refuse: some }} }} }}""",
            routes="[ { match: { tag: pieces }, use: [in_cpp] }, { use: [in_c] } ]",
        )
        postbus = self.postbus(config)
        postbus.start()
        mail = {"to": f"ada@{e2e.DOMAIN}", "template": "hello", "data": {"Name": "Ada"}}
        whole = post(postbus.api, mail).json["id"]
        written = lambda: [path for path in mails.glob("*.eml") if path.stat().st_size]
        [file] = wait_until(written, e2e.PATIENCE_SECONDS, "the mail")
        self.assertEqual(file.stem, whole)
        self.assertIn("Subject: Hello from 1.0", file.read_text())
        self.assertEqual(post(postbus.api, {**mail, "data": {}}).json["errors"][0]["pointer"], "/data/Name")

        to = [f"ada@{e2e.DOMAIN}", f"refused@{e2e.DOMAIN}"]
        pieces = post(postbus.api, {**mail, "to": to, "tags": ["pieces"]}).json["id"]
        postbus.wait_for_log(f"dead-lettered.*{pieces}.*550 5.7.509 no such mailbox", e2e.PATIENCE_SECONDS)
        self.assertIn(f"{pieces} noreply@usualstore.com 2 0 0 0", (self.directory / "log").read_text())
        self.assertEqual(postbus.stop(), 0)


if __name__ == "__main__":
    e2e.main()
