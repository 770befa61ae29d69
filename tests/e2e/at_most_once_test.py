"""retry.in_doubt: dead_letter. Whatever dies when, no mail is sent twice, and each is sent or a dead letter `in_doubt`."""

import collections
import json
import random
import re
import shutil
import threading
import time
from datetime import datetime, timedelta, timezone

import e2e
from journal_test import GatedServer
from postbus_process import wait_until

SECONDS = 120
MAILS = 250
PAGE = (e2e.ROOT / "docs" / "at-most-once.md").read_text()
CLAIMED_AT_MOST = int(re.search(r"at most\s+(\d+) mails a transport and shard", PAGE)[1])
# The page's own line, but sooner.
RETRY = re.search(r"```yaml\nretry: (\{.*\})\n```", PAGE)[1].replace("30s, 10m, 1h", "1s")


class SlowServer(GatedServer):
    """Answers each final dot after a while. Mails to soft… are put off once: those are not kept, so not counted."""

    def __init__(self):
        super().__init__()
        self.put_off: set[str] = set()
        self._random = random.Random(1)

    def reply_to(self, data: bytes) -> bytes:
        time.sleep(self._random.random() * 0.1)
        id = re.search(rb"(?im)^Message-ID:\s*<([^@>]+)@", data)[1].decode()
        if re.search(rb"(?im)^To:.*soft", data) and id not in self.put_off:
            self.put_off.add(id)
            return b"451 4.3.0 later"
        return super().reply_to(data)


class AtMostOnce(e2e.TestCase):
    def start(self, server, **arguments):
        self.config = self.write_config(self.queue(), transport=self.smtp(max_connections=8, port=server.port), retry=RETRY)
        postbus = self.postbus(self.config, environment=server.environment, **arguments)
        postbus.start()
        return postbus

    def mails(self, count: int) -> list[dict]:
        mails = []
        for i in range(count):
            mail = {"to": f"{'soft' if i % 5 == 0 else 'a'}{i}@{e2e.DOMAIN}", "template": "notice"}
            if i % 5 == 1:
                mail["scheduled_at"] = (datetime.now(timezone.utc) + timedelta(seconds=i % 4)).isoformat()
            mails.append(mail)
        return mails

    def letters(self) -> dict[str, set[str]]:
        """The ids of the dead letters, by outcome."""
        command = re.search(r"^postbus (dlq list .*)$", PAGE, re.MULTILINE)[1].replace("config/single-node.yaml", str(self.config))
        doubted = self.run_postbus(*command.split(), "--output", "json")
        self.assertEqual(doubted.returncode, 0, doubted.stderr)
        done = self.run_postbus("dlq", "list", "-c", self.config, "--output", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        letters: dict[str, set[str]] = collections.defaultdict(set)
        for letter in json.loads(done.stdout):
            letters[letter["outcome"]].add(letter["id"])
        self.assertLessEqual({letter["id"] for letter in json.loads(doubted.stdout)}, letters["in_doubt"])
        return {outcome: ids for outcome, ids in letters.items() if ids}

    def lose_journal(self) -> None:
        (self.directory / "postbus.db.host-journal").unlink(missing_ok=True)
        shutil.rmtree(self.directory / "state" / "journal", ignore_errors=True)

    def check(self, server, expected: set[str]) -> set[str]:
        """Returns the ids of the dead letters, of which some may have been sent."""
        seen: dict[str, set[str]] = {}

        def all_ended():
            seen.update(self.letters())
            return expected <= set(server.complete()) | seen.get("in_doubt", set())

        wait_until(
            all_ended,
            SECONDS,
            lambda: f"the end of {sorted(expected - set(server.complete()) - seen.get('in_doubt', set()))[:5]}",
        )
        time.sleep(3)  # a second copy would come now
        copies = collections.Counter(server.complete())
        self.assertEqual({id: count for id, count in copies.items() if count > 1}, {}, "sent twice")
        self.assertEqual(set(seen) - {"in_doubt"}, set(), "no other dead letters")
        return seen.get("in_doubt", set())

    def check_kills(self, kills: int, loses_journal: bool):
        with SlowServer() as server:
            postbus = self.start(server)
            expected: set[str] = set()
            rng = random.Random(kills)
            doubted: set[str] = set()
            for _ in range(kills):
                accepted: list[str] = []
                poster = threading.Thread(target=e2e.post_all, args=(postbus.api, self.mails(MAILS), accepted))
                before = len(server.answered())
                poster.start()
                wait_until(lambda: len(server.answered()) > before + 30, SECONDS, "mails under way")
                time.sleep(rng.random() * 0.5)
                postbus.kill()
                poster.join()
                expected |= set(accepted)
                if loses_journal:
                    self.lose_journal()
                postbus.start()
            doubted = self.check(server, expected)
            unsent = doubted - set(server.complete())
            print(
                f"{kills} kills, {len(expected)} accepted, {len(set(server.complete()))} sent, "
                f"{len(doubted)} in doubt, {len(unsent)} of them not sent",
                flush=True,
            )
            self.assertGreater(len(doubted), 0, "some were past their final dot")
            # With the journal only what was past its point of no return: a mail a connection and kill.
            self.assertLessEqual(len(doubted), kills * ((CLAIMED_AT_MOST if loses_journal else 8) + self.moves_at_once))
            self.assertEqual(postbus.stop(), 0)

    def check_stops(self):
        """What an orderly stop hands back was not sent, and is in no doubt."""
        with SlowServer() as server:
            postbus = self.start(server, settings={"host.drain_timeout": "10s"})
            expected: set[str] = set()
            for _ in range(2):
                accepted: list[str] = []
                e2e.post_all(postbus.api, self.mails(MAILS), accepted)
                expected |= set(accepted)
                wait_until(lambda: len(server.answered()) > 0, SECONDS, "mails under way")
                self.assertEqual(postbus.stop(), 0)
                self.lose_journal()
                postbus.start()
            self.assertEqual(self.check(server, expected), set())
            self.assertEqual(postbus.stop(), 0)


class OnSqlite(e2e.OnSqlite, AtMostOnce):
    moves_at_once = 0

    def test_kills(self):
        self.check_kills(3, loses_journal=False)

    def test_kills_that_lose_the_journal(self):
        self.check_kills(3, loses_journal=True)

    def test_stops(self):
        self.check_stops()


class OnKafka(e2e.OnKafka, AtMostOnce):
    moves_at_once = MAILS  # copies that were being written when it was killed are in doubt, too

    def test_kills(self):
        self.check_kills(3, loses_journal=False)

    def test_kills_that_lose_the_journal(self):
        self.check_kills(3, loses_journal=True)

    def test_stops(self):
        self.check_stops()

    def test_another_host_sends_nothing_that_was_claimed(self):
        with GatedServer() as server:
            first = self.start(server)
            server.gate.clear()
            accepted: list[str] = []
            mails = [{"to": f"a{i}@{e2e.DOMAIN}", "template": "notice"} for i in range(3 * MAILS)]
            e2e.post_all(first.api, mails, accepted)
            # One of eight connections is kept for high mails.
            wait_until(lambda: len(server.complete()) >= 7, SECONDS, "each connection to wait for an answer")
            first.kill()
            passed = set(server.complete())
            second = self.postbus(
                self.config,
                environment=server.environment,
                settings={"state_dir": "other-state"},
                log=self.directory / "second.log",
            )
            server.gate.set()
            second.start()
            doubted = self.check(server, set(accepted))
            self.assertEqual(passed - doubted, set(), "what was past its final dot is in doubt")
            self.assertLessEqual(len(doubted), CLAIMED_AT_MOST, "what nobody had claimed is sent")
            self.assertEqual(second.stop(), 0)


if __name__ == "__main__":
    e2e.main()
