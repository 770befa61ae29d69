"""What every subcommand has in common: help with examples that work, one form of error, exit codes."""

import os
import re
import shutil
import socket
import subprocess

import e2e

EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 64, 69, 78


class Errors(e2e.TestCase):
    def test_usage_errors_have_one_form(self):
        for arguments, expected in (
            ((), "postbus: A subcommand is required; see postbus --help\n"),
            (("srve",), 'postbus: "srve" is no command or option of postbus; did you mean "serve"?; see postbus --help\n'),
            (("serve",), "postbus: --config is required; see postbus serve --help\n"),
            (
                ("topics", "chekc"),
                'postbus: "chekc" is no command or option of postbus topics; did you mean "check"?; '
                "see postbus topics --help\n",
            ),
            (
                ("plugins", "list", "--outptu"),
                'postbus: "--outptu" is no command or option of postbus plugins list; did you mean "--output"?; '
                "see postbus plugins list --help\n",
            ),
        ):
            with self.subTest(arguments):
                done = self.run_postbus(*arguments)
                self.assertEqual((done.returncode, done.stdout), (EXIT_USAGE, ""))
                self.assertEqual(done.stderr, expected)

    def test_help_and_version_go_to_stdout(self):
        for arguments in (("--help",), ("--version",), ("send", "--help")):
            done = self.run_postbus(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout)


class ExamplesCase(e2e.TestCase):
    """Each --help ends with examples; each works as it stands there, in a directory with config/ and templates/."""

    # What they print when they are up. They serve until they are stopped.
    SERVE = {
        "postbus serve": r"admin listens",
        "postbus host": r"admin listens",
        "postbus api": r"admin listens",
        "postbus render -c config/single-node.yaml --serve": r"^http://127\.0\.0\.1:",
    }

    def setUp(self):
        super().setUp()
        shutil.copytree(e2e.ROOT / "config", self.directory / "config")
        self.shell = {"cwd": self.directory, "env": {**os.environ, "PATH": f"{e2e.POSTBUS.parent}:{os.environ['PATH']}"}}

    def commands(self, words: tuple = ()) -> list[tuple]:
        """Each command and subcommand, as --help lists them."""
        text = self.run_postbus(*words, "--help").stdout
        found = re.search(r"^Subcommands:\n((?:  .*\n)+)", text, re.MULTILINE)
        names = re.findall(r"^  ([a-z]+) ", found[1], re.MULTILINE) if found else []
        return [words] * bool(words) + [line for name in names for line in self.commands((*words, name))]

    def examples(self, words: tuple) -> list[str]:
        text = self.run_postbus(*words, "--help").stdout
        self.assertRegex(text, r"\nExample:\n", words)
        return [line.strip() for line in text.split("\nExample:\n")[1].splitlines() if line.strip()]

    def check(self, example: str):
        self.assertIn("postbus ", example)
        if serving := next((up for start, up in self.SERVE.items() if example.startswith(start)), None):
            return self.check_serving(example, serving)
        done = subprocess.run(example, shell=True, capture_output=True, text=True, timeout=e2e.PATIENCE_SECONDS,
                              **self.shell)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout)

    def check_serving(self, example: str, up: str):
        options = " --port 0" if "render" in example else " --set api.listen=127.0.0.1:0 --set admin.listen=127.0.0.1:0"
        process = subprocess.Popen(f"exec {example}{options}", shell=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, **self.shell)  # fmt: skip
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if re.search(up, line):
                    break
            else:
                self.fail("".join(lines))
            process.terminate()
            process.stdout.read()
            self.assertEqual(process.wait(e2e.PATIENCE_SECONDS), 0)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class Examples(ExamplesCase):
    def test_each_works(self):
        # They need Kafka, or a host that runs (tests/e2e/pause_test.py, drain_test.py).
        elsewhere = ("topics", "pause", "resume", "drain")
        commands = [words for words in self.commands() if words[0] not in elsewhere]
        self.assertGreater(len(commands), 8)
        for words in commands:
            for example in self.examples(words):
                with self.subTest(example):
                    self.check(example)

    def test_the_readme_s_first_commands_work(self):
        readme = (e2e.ROOT / "README.md").read_text()
        commands = re.findall(r"^build/release/bin/(postbus serve .*)$", readme, re.MULTILINE)
        self.assertEqual(len(commands), 2)
        for command in commands:
            with self.subTest(command):
                self.check_serving(command, r"admin listens")


class ExamplesOnKafka(e2e.OnKafka, ExamplesCase):
    def test_each_works(self):
        self.shell["env"] |= {"KAFKA_BROKERS": self.kafka.bootstrap, "KAFKA_TOPIC": self.kafka.topic}
        for command in ("create", "check"):
            for example in self.examples(("topics", command)):
                with self.subTest(example):
                    self.check(example)


if __name__ == "__main__":
    e2e.main()
