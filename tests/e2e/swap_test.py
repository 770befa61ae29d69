"""Providers are swapped under load: the route flips between SMTP and Mailtrap, configurations are broken, a plugin's file is
replaced. Each mail comes once.

    swap_test.py OnSqlite                                         the short form, as ./check runs it
    swap_test.py --seconds 300 --rate 2000 --every 2 OnSqlite     the long one; needs the environment that ctest gives

POSTBUS_UPDATE_DOCS=1 with the long form writes what came of it into docs/failover.md.
"""

import argparse
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.request

import documented
import e2e
from postbus_process import END_WITH_PARENT, Client, wait_until
from reload_test import ReloadCase

PROVIDERS = e2e.ROOT / "tests" / "support" / "providers" / "fake_providers.py"
sys.path.insert(0, str(PROVIDERS.parent))
import fake_providers  # noqa: E402

BATCH = 100  # mails a request
BROKEN_EVERY = 10  # configurations


class Mailtrap:
    """The fake in a process of its own, so that it has a core while we post."""

    def __init__(self, directory):
        self._command = [*END_WITH_PARENT, str(PROVIDERS), str(directory), "--ids-only"]

    def __enter__(self) -> "Mailtrap":
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        told = json.loads(self._process.stdout.readline())
        self.url, self.ca_file = told["url"], told["ca_file"]
        self._context = ssl.create_default_context(cafile=self.ca_file)
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def cpu_seconds(self) -> float:
        with open(f"/proc/{self._process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def count(self) -> int:
        return self._ask("count")

    def ids(self) -> list[str]:
        return self._ask("ids")

    def _ask(self, what: str):
        with urllib.request.urlopen(f"{self.url}/_control/{what}", context=self._context, timeout=60) as answer:
            return json.load(answer)


class Feeder:
    """Posts batches at a rate; where the API is slower than that, as fast as it takes them."""

    CONNECTIONS = 4

    def __init__(self, api: str, rate: float, seconds: float):
        self.asked: list[str] = []
        self.accepted: list[str] = []
        self.problems: list[str] = []
        self._api, self._rate = api, rate
        self._batches = int(rate * seconds / BATCH)
        self._begun = 0
        self._start = time.monotonic()
        self.took = 0.0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._post) for _ in range(self.CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _post(self) -> None:
        with Client(self._api, timeout=e2e.PATIENCE_SECONDS) as client:
            while True:
                with self._lock:
                    number = self._begun
                    if number == self._batches or self.problems:
                        return
                    self._begun += 1
                    ids = [e2e.new_id() for _ in range(BATCH)]
                    self.asked += ids
                time.sleep(max(0.0, self._start + number * BATCH / self._rate - time.monotonic()))
                mails = [{"id": id, "to": f"user-{id[:8]}@{e2e.DOMAIN}", "template": "notice"} for id in ids]
                answer = client.post(mails, "/v1/emails/batch")
                with self._lock:
                    if answer.status == 202:
                        self.accepted += [mail["id"] for mail in answer.json["data"]]
                    else:
                        self.problems.append(f"{answer.status} {answer.body.decode()}")
                    self.took = time.monotonic() - self._start


class Swap(ReloadCase):
    """Mixed with OnSqlite and OnKafka."""

    seconds, rate, every = 6.0, 2000.0, 0.4

    def install(self, version: bytes) -> None:
        """The Mailtrap transport under a name of our own, each version with other bytes: ELF does not care."""
        new = self.plugin.with_suffix(".new")
        new.write_bytes((e2e.BUILD / "plugins" / "mailtrap.so").read_bytes() + version)
        new.chmod(0o644)
        new.rename(self.plugin)

    def ways(self, mailtrap: Mailtrap) -> list[dict]:
        """Configurations in turn: another route between the same transports, then the other transport alone."""
        smtp = self.smtp()
        api = (
            f'{{ plugin: "{self.plugin}", options: {{ token: "{fake_providers.TOKEN}", base_url: "{mailtrap.url}", '
            f'ca_file: "{mailtrap.ca_file}", max_batch: 500, max_requests: 4 }} }}'
        )
        both = f"{{ smtp: {smtp}, mailtrap: {api} }}"
        return [
            {"transports": both, "routes": "[ { use: [smtp] } ]"},
            {"transports": both, "routes": "[ { use: [mailtrap] } ]"},
            {"transports": f"{{ smtp: {smtp} }}"},
            {"transports": f"{{ mailtrap: {api} }}"},
        ]

    def check_swapping_while_mails_flow(self):
        sink = self.sink()
        mailtrap = self.enterContext(Mailtrap(self.directory / "mailtrap"))
        self.directory.joinpath("acme").mkdir(mode=0o755)
        self.plugin = self.directory / "acme" / "acme.so"
        self.install(b"one")
        ways = self.ways(mailtrap)
        # An ended transport whose server stands still for longer than this gives its mails up as in doubt.
        self.common = {"queue": self.queue(), "host": "{ drain_timeout: 2m }"}
        postbus = self.start(self.write("", **self.common, **ways[0]), environment=sink.environment)
        feeder = Feeder(postbus.api, self.rate, self.seconds)
        replacements = [(self.seconds / 3, b"two"), (self.seconds * 2 / 3, b"three")]
        begin = time.monotonic()
        swaps = refused = 0
        while feeder.is_alive() or replacements or swaps < BROKEN_EVERY:
            if replacements and time.monotonic() - begin > replacements[0][0]:
                self.install(replacements.pop(0)[1])
            swaps += 1
            broken = swaps % BROKEN_EVERY == 0
            if broken:
                self.write("{ plugin: nowhere }", **self.common)
            else:
                self.write("", **self.common, **ways[swaps % len(ways)])
            answer = self.reload(postbus)
            self.assertEqual(answer.status, 422 if broken else 200, answer.body)
            refused += broken
            time.sleep(max(0.0, begin + swaps * self.every - time.monotonic()))  # the pace; nothing waits for it
        feeder.join()
        self.assertEqual(feeder.problems, [])

        def all_came():
            return sink.count() + mailtrap.count() >= len(feeder.accepted)

        wait_until(all_came, e2e.PATIENCE_SECONDS + self.seconds, lambda: f"every mail; {postbus.tail(3)}")
        came_after = time.monotonic() - begin
        wait_until(lambda: postbus.metric("postbus_email_inflight") == 0, e2e.PATIENCE_SECONDS, "the ends of all turns")
        versions = postbus.metric("postbus_config_generation")
        self.assertEqual(postbus.stop(), 0)
        by_smtp, by_mailtrap = sink.ids(), mailtrap.ids()
        self.assert_each_once(by_smtp + by_mailtrap, set(feeder.asked))
        self.assertEqual(set(feeder.asked), set(feeder.accepted))
        self.assertGreater(len(by_smtp), 0)
        self.assertGreater(len(by_mailtrap), 0)
        self.assertEqual(versions, 1 + swaps - refused)
        rows = {
            "mails accepted": f"{len(feeder.accepted)} in {feeder.took:.0f} s: {len(feeder.accepted) / feeder.took:.0f}/s",
            "the last one came after": f"{came_after:.0f} s",
            "configurations": f"{swaps}, {refused} of them broken and refused",
            "files of the plugin": "3, replaced while mails flowed",
            "by SMTP": str(len(by_smtp)),
            "by Mailtrap": f"{len(by_mailtrap)}, for which the fake used {mailtrap.cpu_seconds():.0f} s of a core",
            "lost": "0",
            "came twice": "0",
        }
        table = documented.table(["", ""], list(rows.items()))
        print(table, flush=True)
        if self.seconds >= 300 and documented.UPDATES:
            documented.write(f"swap {self.queue_name}", table)


class OnSqlite(e2e.OnSqlite, Swap):
    queue_name = "sqlite"

    def test_swapping_while_mails_flow(self):
        self.check_swapping_while_mails_flow()


class OnKafka(e2e.OnKafka, Swap):
    queue_name = "kafka"

    def test_swapping_while_mails_flow(self):
        self.check_swapping_while_mails_flow()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=Swap.seconds)
    parser.add_argument("--rate", type=float, default=Swap.rate, help="mails a second")
    parser.add_argument("--every", type=float, default=Swap.every, help="seconds between two configurations")
    arguments, rest = parser.parse_known_args()
    Swap.seconds, Swap.rate, Swap.every = arguments.seconds, arguments.rate, arguments.every
    sys.argv[1:] = rest
    e2e.main()
