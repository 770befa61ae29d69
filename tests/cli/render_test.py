"""postbus render: once, and as a preview that follows the files."""

import json
import signal
import socket
import subprocess

import e2e
from postbus_process import END_WITH_PARENT, Client, get

EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 64, 69, 78
FILE = "{ plugin: file, options: { directory: files } }"


class RenderCase(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.add_template("greeting", subject="Hello {{Name}}", text="Text for {{Name}}.\n", html="<p>{{Name}}</p>\n")
        (self.directory / "templates" / "greeting" / "sample.json").write_text('{"Name": "the sample"}')
        self.config = self.write_config(self.queue_sqlite(), FILE)

    def render(self, *arguments, **options):
        return self.run_postbus("render", "-c", self.config, *arguments, **options)


class Once(RenderCase):
    def test_sample_is_the_default(self):
        done = self.render("greeting")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(
            done.stdout,
            "Subject: Hello the sample\n\n--- text ---\nText for the sample.\n\n--- html ---\n<p>the sample</p>\n",
        )

    def test_data_as_text_file_and_standard_input(self):
        data = '{"Name": "<Ada>"}'
        (self.directory / "data.json").write_text(data)
        for given, options in ((data, {}), (f"@{self.directory}/data.json", {}), ("-", {"input": data})):
            with self.subTest(given):
                done = self.render("greeting", "--data", given, "--part", "html", **options)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "<p>&lt;Ada&gt;</p>\n", ""))

    def test_json(self):
        done = self.render("greeting", "--output", "json")
        self.assertEqual(
            json.loads(done.stdout),
            {"subject": "Hello the sample", "text": "Text for the sample.\n", "html": "<p>the sample</p>\n"},
        )

    def test_a_template_without_sample_has_no_data(self):
        self.assertEqual(self.render("notice", "--part", "subject").stdout, "A notice\n")

    def test_what_is_wrong_is_said(self):
        for arguments, code, words in (
            (("greetign",), EXIT_USAGE, 'there is no template "greetign"; did you mean "greeting"?'),
            (("greeting", "--data", "{}"), EXIT_USAGE, "greeting: /Name "),
            (("greeting", "--data", "@no.json"), EXIT_USAGE, "--data: cannot read no.json"),
            (("greeting", "--data", f"@{self.directory}"), EXIT_USAGE, "--data: cannot read"),
            ((), EXIT_USAGE, "TEMPLATE is required, unless with --serve"),
            (("greeting", "--part", "body"), EXIT_USAGE, "--part: body not in"),
        ):
            with self.subTest(arguments):
                done = self.render(*arguments)
                self.assertEqual((done.returncode, done.stdout), (code, ""))
                self.assertTrue(done.stderr.startswith("postbus: "), done.stderr)
                self.assertIn(words, done.stderr)

    def test_a_broken_template_is_78_with_its_file(self):
        (self.directory / "templates" / "greeting" / "html.tpl").write_text("{{#Open}}")
        done = self.render("notice")
        self.assertEqual((done.returncode, done.stdout), (EXIT_CONFIG, ""))
        self.assertIn("greeting/html.tpl", done.stderr)


class Serve(RenderCase):
    def setUp(self):
        super().setUp()
        command = [str(e2e.POSTBUS), "render", "-c", str(self.config), "--serve", "--port", "0"]
        self.process = subprocess.Popen([*END_WITH_PARENT, *command], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.url = self.process.stdout.readline().strip()
        self.assertRegex(self.url, r"^http://127\.0\.0\.1:\d+/$")

    def state(self) -> dict:
        return get(self.url, "/templates").json

    def rendered(self, template: str, data: bytes = b"") -> dict:
        with Client(self.url) as client:
            return client.request("POST", f"/render?template={template}", data).json

    def test_the_page_is_one_file(self):
        page = get(self.url, "/")
        self.assertEqual(page.headers["Content-Type"], "text/html; charset=utf-8")
        text = page.body.decode()
        self.assertIn("<title>postbus templates</title>", text)
        self.assertIn('id="frame" title="The mail as HTML" sandbox', text)
        self.assertNotRegex(text, r"(src|href)=\"?https?:")

    def test_templates_are_listed_and_rendered(self):
        self.assertIn("greeting", self.state()["templates"])
        mail = self.rendered("greeting")
        self.assertEqual(mail["subject"], "Hello the sample")
        self.assertEqual(mail["data"], '{"Name": "the sample"}')
        mail = self.rendered("greeting", b'{"Name": "Ada"}')
        self.assertEqual((mail["text"], mail["html"]), ("Text for Ada.\n", "<p>Ada</p>\n"))

    def test_what_cannot_be_rendered_is_said(self):
        self.assertIn("/Name", self.rendered("greeting", b"{}")["error"])
        self.assertIn("error", self.rendered("greeting", b"no JSON"))
        self.assertIn("error", self.rendered("../state"))
        self.assertIn("error", self.rendered(""))

    def test_a_changed_file_is_seen(self):
        before = self.state()
        self.assertEqual(self.state(), before, "nothing has changed")
        file = self.directory / "templates" / "greeting" / "text.tpl"
        file.write_text("Other text for {{Name}}.\n")
        self.assertNotEqual(self.state()["stamp"], before["stamp"])
        self.assertEqual(self.rendered("greeting")["text"], "Other text for the sample.\n")
        self.add_template("added", subject="S", text="T\n")
        self.assertIn("added", self.state()["templates"])

        file.write_text("{{#Open}}")
        state = self.state()
        self.assertNotIn("templates", state)
        self.assertIn("greeting/text.tpl", state["error"])
        self.assertIn("greeting/text.tpl", self.rendered("greeting")["error"])
        file.write_text("Repaired.\n")
        self.assertEqual(self.rendered("greeting")["text"], "Repaired.\n")

    def test_other_requests_are_refused(self):
        with Client(self.url) as client:
            for method, path, headers, status in (
                ("GET", "/", {"Host": "templates.example"}, 400),
                ("GET", "/nothing", {}, 404),
                ("POST", "/", {}, 405),
                ("GET", "/render?template=greeting", {}, 405),
            ):
                with self.subTest(path):
                    self.assertEqual(client.request(method, path, None, headers).status, status)

    def test_it_ends_with_0(self):
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(e2e.PATIENCE_SECONDS), 0)

    def test_a_taken_port_is_69(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = self.render("--serve", "--port", taken.getsockname()[1])
        self.assertEqual((done.returncode, done.stdout), (EXIT_UNAVAILABLE, ""))


if __name__ == "__main__":
    e2e.main()
