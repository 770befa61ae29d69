"""postbus explain: what would become of an event."""

import json
import re

import e2e

EXIT_USAGE, EXIT_CONFIG = 64, 78
FILE = "{ plugin: file, options: { directory: files } }"
NULL = '{ plugin: "null" }'
TO = f"ada@{e2e.DOMAIN}"
NOTICE = {"to": TO, "template": "notice"}


class Explain(e2e.TestCase):
    def explain(self, event, code: int = 0, **top):
        top = {"transports": f"{{ one: {FILE}, two: {NULL} }}", "routes": "[ { use: [one] } ]", **top}
        self.config = self.write_config(self.queue_sqlite(), **top)
        file = self.directory / "event.json"
        file.write_text(event if isinstance(event, str) else json.dumps(event))
        done = self.run_postbus("explain", "-c", self.config, file)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(bool(done.stderr), code != 0, done.stderr)
        return done if code else done.stdout

    def test_says_what_where_and_when(self):
        text = self.explain(e2e.seed_event("one"))
        self.assertIn("event       id one, type password_reset\n", text)
        self.assertIn(f"queue       sqlite {self.directory}/postbus.db, priority high\n", text)
        self.assertIn("recipients  1 to, 0 cc, 0 bcc\n", text)
        self.assertRegex(text, r"\nmail        template password-reset, \d+ bytes\n")
        self.assertIn("transport   one: plugin file 0.1.0, for tests only\n", text)
        self.assertIn("limits.max_event is 921600\n", text)

    def test_sends_nothing(self):
        self.explain(NOTICE)
        self.assertEqual([p.name for p in self.directory.iterdir() if p.name in ("files", "postbus.db", "state")], [])

    def test_each_route_up_to_the_one_that_matches(self):
        routes = """
  - { match: { template: [newsletter, weekly*], priority: low }, use: [one] }
  - { match: { recipient_domain: """ + e2e.DOMAIN + """ }, use: [two, one] }
  - { use: [one] }"""
        text = self.explain(NOTICE, routes=routes)
        where = re.escape(str(self.config))
        self.assertRegex(text, rf"\nroute       routes\.0 \({where}:\d+:5\) does not: "
                               r"template is newsletter or weekly\* and priority is low\n"
                               rf"            routes\.1 \({where}:\d+:5\) takes it: recipient_domain is {e2e.DOMAIN}\n"
                               r"transport   two: plugin null 0\.1\.0, for tests only\n"
                               r"            one: plugin file .*; where those before it fail for every mail\n")  # fmt: skip
        self.assertNotIn("routes.2", text)

    def test_dates_of_the_retries(self):
        for max_retries, count, reason in (
            (None, 2, "retry.max_retries"),
            (1, 1, "the event's max_retries"),
            (-1, 0, "the event's max_retries"),
            (9, 4, "retry.max_retries_limit"),
        ):
            with self.subTest(max_retries):
                event = NOTICE if max_retries is None else {**NOTICE, "max_retries": max_retries}
                text = self.explain(event, retry="{ max_retries: 2, max_retries_limit: 4, backoff: [90s, 1h] }")
                self.assertIn(f"\nretries     {count}: {reason}; if the server", text)
                waits = ["now", "after 1m30s", "after 1h1m30s", "after 2h1m30s", "after 3h1m30s"]
                self.assertEqual(re.findall(r"\d{4}-\d\d-\d\dT\S+Z \((.*)\)", text), waits[: count + 1])
                self.assertIn("\n            then it is a dead letter: attempts_exhausted\nin doubt    ", text)
                self.assertTrue(text.endswith("no answer came, it goes again (retry.in_doubt)\n"), text)
        text = self.explain(NOTICE, retry="{ max_retries: 9, backoff: [1h], max_age: 2h }")
        self.assertIn("(after 2h)\n            then it is a dead letter: max_age\n", text)
        text = self.explain(NOTICE, retry="{ in_doubt: dead_letter }")
        self.assertTrue(text.endswith("no answer came, it is a dead letter (retry.in_doubt)\n"), text)

    def test_limits(self):
        self.assertIn("limits      none; where a provider says", self.explain(NOTICE))
        limited = FILE[:-1] + ', rate_limit: { per_second: 0.5, burst: 3, per_domain: { "*": { per_second: 20 } } } }'
        transports = f"{{ one: {limited}, two: {NULL} }}"
        text = self.explain({**NOTICE, "cc": "eve@" + e2e.DOMAIN}, transports=transports)
        self.assertIn(
            "limits      one: 0.5 a second, 3 at once\n"
            f"            one: to {e2e.DOMAIN} (per_domain.*) 20 a second\n"
            "retries     ",
            text,
        )

    def test_what_only_the_api_refuses_is_named(self):
        self.assertIn("the HTTP API would refuse it: /scheduld: ", self.explain({**NOTICE, "scheduld": "x"}))

    def test_a_dead_letter_is_64(self):
        done = self.explain({"to": "no-at-sign", "template": "notice"}, EXIT_USAGE)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"^postbus: it would be a dead letter \(invalid_event\): /to: ")
        done = self.explain("{", EXIT_USAGE)
        self.assertRegex(done.stderr, r"^postbus: it would be a dead letter \(invalid_event\): not JSON")
        done = self.explain({"to": TO, "template": "welcome"}, EXIT_USAGE)
        self.assertIn("\nmail        not sent: render_error: /", done.stdout)
        self.assertIn("postbus: it would be a dead letter", done.stderr)

    def test_standard_input_and_mistakes(self):
        self.explain(NOTICE)
        done = self.run_postbus("explain", "-c", self.config, "-", input=json.dumps(NOTICE))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = self.run_postbus("explain", "-c", self.config, "no.json")
        self.assertEqual((done.returncode, done.stderr), (EXIT_USAGE, "postbus: EVENT: cannot read no.json\n"))


if __name__ == "__main__":
    e2e.main()
