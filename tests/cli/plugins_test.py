"""postbus plugins list | show, and the pages in docs/plugins/ made by it."""

import json
import os
import pathlib
import shutil

import e2e

EXIT_CONFIG = 78
PAGES = e2e.ROOT / "docs" / "plugins"
NAMES = sorted(folder.name for folder in (e2e.ROOT / "plugins").iterdir() if (folder / "plugin.cc").exists())


class List(e2e.TestCase):
    def test_names_each_plugin(self):
        done = self.run_postbus("plugins", "list")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()], NAMES)
        self.assertIn("transport", done.stdout)

    def test_json(self):
        done = self.run_postbus("plugins", "list", "--output", "json")
        plugins = {plugin["name"]: plugin for plugin in json.loads(done.stdout)}
        self.assertEqual(sorted(plugins), NAMES)
        self.assertEqual(plugins["ctemplate"]["kind"], "renderer")
        self.assertEqual(plugins["file"]["capabilities"], ["wants_raw", "test_only"])
        self.assertEqual(plugins["file"]["path"], str(e2e.BUILD / "plugins" / "file.so"))
        self.assertRegex(plugins["file"]["abi"], r"^\d+\.\d+$")

    def test_directories_of_the_configuration_come_first_and_a_broken_file_is_named(self):
        more = self.directory / "more"
        more.mkdir()
        shutil.copy(e2e.BUILD / "plugins" / "file.so", more / "smtp.so")
        (more / "broken.so").write_text("no shared object")
        config = self.write_config(self.queue_sqlite(), plugins="{ directories: [more] }")
        done = self.run_postbus("plugins", "list", "-c", config, "--output", "json", env={**os.environ, "SMTP_PORT": "1"})
        self.assertEqual(done.returncode, EXIT_CONFIG)
        self.assertRegex(done.stderr, rf"^postbus: {more}/broken.so: ")
        plugins = {plugin["name"]: plugin for plugin in json.loads(done.stdout)}
        self.assertEqual(sorted(plugins), NAMES)
        self.assertEqual(plugins["smtp"]["path"], str(more / "smtp.so"))


class Show(e2e.TestCase):
    def test_text_has_each_option(self):
        done = self.run_postbus("plugins", "show", "file")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^file \d+\.\d+\.\d+, transport\n")
        self.assertIn(f"file: {e2e.BUILD}/plugins/file.so\n", done.stdout)
        self.assertIn("\n  directory: path; required\n", done.stdout)
        self.assertIn("\n  threads: integer, 1–64 threads; default 4\n", done.stdout)

    def test_json_has_each_option(self):
        done = self.run_postbus("plugins", "show", "ses-stub", "--output", "json")
        options = {option["name"]: option for option in json.loads(done.stdout)["options"]}
        self.assertTrue(options["directory"]["required"])
        self.assertNotIn("default", options["directory"])
        self.assertEqual(options["account"]["choices"], ["active", "sending_paused", "suspended"])
        self.assertEqual(options["max_message_size"]["maximum"], 1 << 30)

    def test_an_unknown_one_is_refused_with_the_nearest_name(self):
        done = self.run_postbus("plugins", "show", "smpt")
        self.assertEqual((done.returncode, done.stdout), (EXIT_CONFIG, ""))
        self.assertIn('did you mean "smtp"?', done.stderr)


class Pages(e2e.TestCase):
    """POSTBUS_UPDATE_DOCS=1 writes the pages instead."""

    def test_pages_are_what_the_tables_say(self):
        for name in NAMES:
            with self.subTest(name):
                page = self.run_postbus("plugins", "show", name, "--output", "markdown").stdout
                file = PAGES / f"{name}.md"
                if "POSTBUS_UPDATE_DOCS" in os.environ:
                    file.write_text(page)
                self.assertEqual(file.read_text() if file.exists() else "", page,
                                 "run this test once with POSTBUS_UPDATE_DOCS=1")  # fmt: skip

    def test_no_page_is_left_over_and_each_readme_names_its_page(self):
        self.assertEqual(sorted(page.stem for page in PAGES.glob("*.md")), NAMES)
        for name in NAMES:
            readme = pathlib.Path(e2e.ROOT / "plugins" / name / "README.md").read_text()
            self.assertIn(f"(../../docs/plugins/{name}.md)", readme, name)


if __name__ == "__main__":
    e2e.main()
