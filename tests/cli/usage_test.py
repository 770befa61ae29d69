"""What every subcommand has in common: help with examples that work, one form of error, exit codes."""

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


if __name__ == "__main__":
    e2e.main()
