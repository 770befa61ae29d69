"""Another renderer by YAML alone: tests/support/renderers/braces.cc in ctemplate's place."""

import e2e
from postbus_process import post, wait_until

BRACES = e2e.BUILD / "tests" / "plugins" / "braces.so"


class SecondRenderer(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.letters = self.directory / "letters"
        self.letters.mkdir()
        (self.letters / "reset.txt").write_text("Reset, {{Name}}\nGo to {{Link}}\n")
        self.mails = self.directory / "mails"

    def test_a_mail_by_it(self):
        config = self.write_config(
            self.queue_sqlite(),
            f'{{ plugin: file, options: {{ directory: "{self.mails}" }} }}',
            renderer=f'{{ plugin: "{BRACES}", options: {{ directory: letters }} }}',
        )
        postbus = self.postbus(config)
        postbus.start()
        mail = {"to": f"ada@{e2e.DOMAIN}", "template": "reset", "data": {"Name": "Ada", "Link": "https://example.com/x"}}
        self.assertEqual(post(postbus.api, mail).status, 202)
        [file] = wait_until(lambda: list(self.mails.glob("*.eml")), e2e.PATIENCE_SECONDS, "the mail")
        text = file.read_text()
        self.assertIn("Subject: Reset, Ada\n", text.replace("\r\n", "\n"))
        self.assertIn("Go to https://example.com/x", text)

        missing = post(postbus.api, {**mail, "data": {"Name": "Ada"}})
        self.assertEqual(missing.status, 422)
        self.assertEqual(missing.json["errors"][0]["pointer"], "/data/Link")
        unknown = post(postbus.api, {**mail, "template": "rest"})
        self.assertEqual(unknown.status, 422)
        self.assertEqual(unknown.json["errors"][0]["pointer"], "/template")
        self.assertIn("reset", unknown.json["errors"][0]["detail"])  # the nearest name
        self.assertEqual(postbus.stop(), 0)

    def test_it_keeps_to_the_abi(self):
        done = self.run_postbus("plugins", "check", BRACES, "--option", f"directory={self.letters}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual([line for line in done.stdout.splitlines() if not line.startswith("ok ")], [])


if __name__ == "__main__":
    e2e.main()
