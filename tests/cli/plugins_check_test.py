"""postbus plugins check: our plugins keep to the ABI, and each of tests/abi/bad_plugins is found out by name."""

import json
import os
import subprocess

import e2e

EXIT_OK, EXIT_USAGE, EXIT_CONFIG = 0, 64, 78
BAD_PLUGINS = e2e.BUILD / "tests" / "bad_plugins"
OURS = sorted(folder.name for folder in (e2e.ROOT / "plugins").iterdir() if (folder / "plugin.cc").exists())
OPTIONS = {"ctemplate": ["--option", f"directory={e2e.ROOT / 'templates'}"]}

# Plugin: the check that finds it out, and what it says.
BAD = {
    # the file
    "exports_more": ("exports", r"exports bad_helper besides postbus_plugin_entry; link it by postbus_add_plugin"),
    "gnu_unique": ("exports", r"STB_GNU_UNIQUE symbol .*counter.*-fno-gnu-unique"),
    "no_entry": ("loads", r"it exports no postbus_plugin_entry"),
    "wrong_magic": ("loads", r"wrong magic number"),
    "future_major": ("loads", r"ABI 2\.0, this postbus speaks 1\.x; rebuild against postbus-sdk 1$"),
    "unknown_caps": ("loads", r"its postbus_transport has bits in `caps` that ABI 1\.\d does not know"),
    "unknown_flags": ("loads", r'its option "port" has bits in `flags` that'),
    "fills_reserved": ("loads", r"its postbus_plugin_entry has bits in `reserved` that"),
    "short_entry": ("loads", r"postbus_plugin_entry has 40 bytes"),
    "short_transport_struct": ("loads", r"postbus_transport has 40 bytes"),
    "short_option": ("loads", r"postbus_option has 64 bytes"),
    "null_function": ("loads", r"no function submit"),
    "null_get": ("loads", r"no function get"),
    "no_table": ("loads", r"it says it is a renderer, but has no"),
    "wrong_kind": ("loads", r"its kind 7"),
    "empty_id": ("loads", r'its id "" is not a name'),
    "empty_version": ("loads", r"it has no version"),
    "null_option": ("loads", r"null entry"),
    "bad_option_name": ("loads", r'"Server Port" is not a name'),
    "duplicate_option": ("loads", r"in its option table twice"),
    "bad_default": ("loads", r"bad default"),
    "unresolved_symbol": ("loads", r"undefined symbol"),
    "thread_on_load": ("loads", r"loading it starts a thread"),
    "open_secret": ("secrets", r'"password" is not marked POSTBUS_OPTION_SECRET'),
    "knows_everything": ("unknown-extension", r'get\("postbus.nothing/1"\) gives a table'),
    # transports
    "create_fails": ("create", r"create failed: the port is taken; choose another one; give options by --option"),
    "create_gives_no_reason": ("create", r"gave no reason; write a sentence"),
    "create_makes_nothing": ("create", r"made no instance"),
    "create_talks_too_much": ("create", r"create failed: 0123456789"),
    "throws_in_create": ("create", r"an exception crossed the plugin ABI: no such relay, from create; catch it there"),
    "crashes_in_create": ("create", r"crashed in create \(SIGABRT\)"),
    "hangs_in_create": ("create", r"did not end within 6000 ms in create"),
    "logs_secret": ("create", r"a log line has the value of a secret option in it"),
    "keeps_options": ("completes-once", r"crashed in submit \(SIG(SEGV|BUS)\)"),
    "logs_address": ("completes-once", r"a log line has a recipient's address in it"),
    "throws_in_submit": ("completes-once", r"an exception crossed the plugin ABI, from submit"),
    "takes_more_than_offered": ("completes-once", r"submit says it took \d+ mails of \d+"),
    "completes_twice": ("completes-once", r"it completed mail \d+ twice"),
    "completes_unknown_token": ("completes-once", r"it completed token 3735928559, which it was not given"),
    "completes_with_rubbish": ("completes-once", r"it completed mail \d+ with no result"),
    "names_a_stranger": ("completes-once", r"with a result for recipient 1000, which it does not have"),
    "calls_with_null": ("completes-once", r"crashed in submit"),
    "never_completes": ("completes-once", r"of 200 mails that it took it completed 0 within"),
    "never_writable": ("completes-once", r"it did not call writable within"),
    "always_outstanding": ("completes-once", r"outstanding still says 1"),
    "ends_the_process": ("completes-once", r"ended the process in submit \(exit code 3\)"),
    "crashes_in_submit": ("completes-once", r"crashed in submit \(SIGSEGV\)"),
    "reads_after_complete": ("completes-once", r"crashed in submit \(SIG(SEGV|BUS)\)"),
    "never_asks": ("completes-once", r"as ACCEPTED and had not asked permit_send; ask before the mail goes out"),
    "asks_too_late": ("completes-once", r"was at the provider before permit_send had said GO"),
    "calls_after_destroy": ("completes-once", r"it called log after destroy had returned"),
    "ignores_abort": ("permit", r"as ACCEPTED although permit_send said ABORT; that is NOT_SENT"),
    "ignores_deadline": ("deadline", r"it sent a mail whose deadline had passed"),
    "completes_on_cancel": ("cancel", r"it completed (token 4711, which it was not given|mail \d+ twice)"),
    "blocks_in_quiesce": ("quiesce", r"quiesce never blocks, and it did"),
    "blocks_in_submit": ("submit-never-blocks", r"submit took \d+ ms; it never blocks"),
    "probe_sends": ("probe", r"it completed token 1, which it was not given"),
    "probe_gives_no_reason": ("probe", r"probe failed and gave no reason"),
    "chokes_on_large": ("hostile-mails", r'crashed in submit, with "900 KiB" \(SIGABRT\)'),
    "one_for_all": ("two-instances", r"crashed in submit \(SIGABRT\)"),
    "leaves_a_thread": ("leaves-nothing", r"\d+ of its threads run after destroy has returned"),
    "leaks_a_descriptor": ("leaves-nothing", r"file descriptors open, and more with each life"),
    # renderers
    "throws_in_render": ("list", r"an exception crossed the plugin ABI, from list"),
    "lists_out_of_order": ("list", r"does not write the names in order"),
    "renders_what_is_not_there": ("unknown-template", r"gives result 0 instead of UNKNOWN_TEMPLATE"),
    "says_no_pointer": ("renders", r"JSON pointer, a blank and a sentence"),
    "renders_nothing": ("renders", r"gives OK and writes nothing"),
    "counts": ("pure", r"gives other bytes for the same input"),
    "trusts_data": ("hostile-data", r"crashed in render, with \"letter\" \(SIGSEGV\)"),
}  # fmt: skip


class Check(e2e.TestCase):
    def check(self, plugin, *arguments) -> tuple[int, dict]:
        done = self.run_postbus("plugins", "check", plugin, "--output", "json", *arguments)
        self.assertNotIn("postbus: ", done.stderr)
        return done.returncode, {one["check"]: one for one in json.loads(done.stdout)}


class Ours(Check):
    def test_each_keeps_to_the_abi(self):
        for name in OURS:
            with self.subTest(name):
                code, checks = self.check(name, *OPTIONS.get(name, []))
                self.assertEqual({one["check"]: one["reason"] for one in checks.values() if one["result"] != "ok"}, {})
                self.assertEqual(code, EXIT_OK)
                self.assertGreater(len(checks), 10)

    def test_each_check_is_seen_to_fail(self):
        code, transport = self.check("null")
        code, renderer = self.check("ctemplate")
        self.assertEqual({*transport, *renderer}, {check for check, _ in BAD.values()})


class Bad(Check):
    def test_each_is_found_out(self):
        for name, (check, reason) in BAD.items():
            with self.subTest(name):
                code, checks = self.check(BAD_PLUGINS / f"{name}.so", "--check", check, "--timeout", "6s")
                self.assertEqual(code, EXIT_CONFIG)
                self.assertEqual(list(checks), [check])
                self.assertEqual(checks[check]["result"], "FAIL")
                self.assertRegex(checks[check]["reason"], reason)

    def test_none_is_left_out(self):
        sources = {path.stem for path in (e2e.ROOT / "tests" / "abi" / "bad_plugins").glob("*.c*")}
        self.assertEqual(set(BAD), sources)


class Command(Check):
    def test_one_line_a_check(self):
        done = self.run_postbus("plugins", "check", BAD_PLUGINS / "open_secret.so")
        self.assertEqual((done.returncode, done.stderr), (EXIT_CONFIG, ""))
        lines = done.stdout.splitlines()
        self.assertTrue(lines[2].startswith("FAIL     secrets "), lines[2])
        self.assertEqual([line.split()[0] for line in lines], ["ok", "ok", "FAIL"] + ["ok"] * (len(lines) - 3))

    def test_a_renderer_without_templates_is_not_called_good(self):
        code, checks = self.check("ctemplate")
        self.assertEqual(checks["renders"]["result"], "skipped")
        self.assertIn("--option", checks["renders"]["reason"])

    def test_the_path_may_be_relative(self):
        done = subprocess.run([e2e.POSTBUS, "plugins", "check", "./no_entry.so", "--check", "loads"], cwd=BAD_PLUGINS,
                              capture_output=True, text=True, timeout=e2e.PATIENCE_SECONDS)  # fmt: skip
        self.assertEqual(done.returncode, EXIT_CONFIG)
        self.assertIn("it exports no postbus_plugin_entry", done.stdout)

    def test_usage(self):
        for arguments, code, error in (
            (["null", "--option", "x"], EXIT_USAGE, "--option: write it as NAME=VALUE"),
            (["null", "--timeout", "soon"], EXIT_USAGE, "--timeout is not a duration"),
            (["null", "--check", "nothing"], EXIT_CONFIG, 'no check "nothing"'),
            (["nil"], EXIT_CONFIG, 'there is no plugin "nil"'),
        ):
            with self.subTest(arguments):
                done = self.run_postbus("plugins", "check", *arguments)
                self.assertEqual((done.returncode, done.stdout), (code, ""))
                self.assertIn(error, done.stderr)

    def test_what_a_plugin_writes_goes_with_the_check(self):
        temporary = self.directory / "tmp"
        temporary.mkdir()
        done = self.run_postbus("plugins", "check", "file", "--check", "completes-once",
                                env={**os.environ, "TMPDIR": str(temporary)})  # fmt: skip
        self.assertEqual(done.returncode, EXIT_OK, done.stdout)
        self.assertEqual(list(temporary.iterdir()), [])


if __name__ == "__main__":
    e2e.main()
