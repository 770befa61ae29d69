"""What the scenarios are judged by: the ledger's server, the counting of ids, the page. A judge that finds nothing is no judge."""

import collections
import pathlib
import smtplib
import tempfile
import time
import unittest

import reliability_page
from ledger_smtp_server import LedgerServer
from postbus_process import wait_until
from rig import Outcome, Rig, Sink
from run_scenarios import ROOT, SUPPORT
from scenarios import SCENARIOS

HOST = "planted-domain.example"


class LedgerTest(unittest.TestCase):
    def setUp(self):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        self.server = self.enterContext(LedgerServer(pathlib.Path(directory) / "ledger", ["a"]))
        self.sink = Sink(self.server)

    def client(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.server.port("a"), timeout=20)
        self.addCleanup(client.close)
        return client

    def send(self, id: str, local: str, client: smtplib.SMTP | None = None):
        (client or self.client()).sendmail("shop@usualstore.com", f"{local}@{HOST}", f"Message-ID: <{id}@usualstore.com>\r\n\r\nHello.\r\n")

    def entries(self, count: int) -> list[tuple]:
        wait_until(lambda: len(self.server.read()) >= count, 20, f"{count} entries")
        return [(each.what, each.code, each.id) for each in self.server.read()]

    def test_kept(self):
        client = self.client()
        for n in range(3):
            self.send(f"id-{n}", "ok+1", client)
        client.quit()
        self.assertEqual(self.entries(4), [*(("kept", 250, f"id-{n}") for n in range(3)), ("gone", 0, "-")])
        self.assertEqual((self.sink.update().sent(), self.sink.duplicates()), ({"id-0", "id-1", "id-2"}, {}))

    def test_refused_as_often_as_asked_for(self):
        for fault, error in (("dot-451-2", smtplib.SMTPDataError), ("rcpt-550-2", smtplib.SMTPRecipientsRefused),
                             ("mail-450-2", smtplib.SMTPRecipientsRefused), ("data-451-2", smtplib.SMTPDataError)):  # fmt: skip
            with self.subTest(fault):
                for _ in range(2):
                    with self.assertRaises(error):
                        self.send(fault, f"{fault}+1")
                self.assertNotIn(fault, self.sink.update().sent(), "what was refused is not sent")
                self.send(fault, f"{fault}+1")
                self.assertEqual(self.sink.update().copies[fault], 1)

    def test_a_broken_connection(self):
        for phase in ("mail", "rcpt", "data", "body", "dot"):
            for action in ("fin", "rst"):
                with self.subTest(f"{phase} {action}"):
                    begin = len(self.server.read())
                    with self.assertRaises((smtplib.SMTPServerDisconnected, ConnectionError)):
                        self.send("x", f"{phase}-{action}-1+1")
                    wait_until(lambda: self.server.read()[-1].what == "gone", 20, "the connection's end")
                    [fault] = [each for each in self.server.read()[begin:] if each.what in ("cut", "lost")]
                    self.assertEqual((fault.what, fault.id), ("lost", "x") if phase == "dot" else ("cut", phase))
        self.assertEqual(self.sink.update().copies["x"], 2, "at the dot they were complete, and both times lost their answer")

    def test_slow(self):
        begin = time.monotonic()
        self.send("s", "data-slow+1")
        self.assertGreater(time.monotonic() - begin, 1.4)
        self.assertEqual(self.sink.update().sent(), {"s"})

    def test_all_are_answered_so(self):
        self.server.do("answer", "a", "connect", 421)
        with self.assertRaises(smtplib.SMTPConnectError):
            self.client()
        self.server.do("answer", "a", "connect", "-")
        self.send("y", "ok+1")
        self.assertEqual(self.sink.update().sent(), {"y"})

    def test_the_last_mail_s_answer_may_be_unknown(self):
        client = self.client()
        self.send("read", "ok+1", client)
        self.send("unread", "ok+1", client)
        self.assertEqual(self.server.do("unknown", "a")["ids"], ["unread"], "who sends the next mail has read the answer")
        client.close()
        wait_until(lambda: self.server.do("unknown", "a")["connections"] == 0, 20, "the connection's end")
        self.assertEqual(self.entries(3)[-1], ("gone", 0, "unread"))

    def test_gate_and_delay(self):
        self.server.do("delay", "a", 200)
        begin = time.monotonic()
        self.send("late", "ok+1")
        self.assertGreater(time.monotonic() - begin, 0.19)
        self.server.do("gate", "a", "closed")
        client = self.client()
        client.sock.settimeout(0.2)
        with self.assertRaises((TimeoutError, smtplib.SMTPServerDisconnected)):
            self.send("gated", "ok+1", client)
        self.server.do("gate", "a", "open")
        kept = [each for each in self.entries(4) if each[0] != "gone"]
        self.assertEqual(kept[:3], [("dot", 0, "late"), ("reply", 250, "late"), ("dot", 0, "gated")])
        self.assertEqual(self.sink.update().sent(), {"late", "gated"}, "complete is complete, answered or not")


class JudgeTest(unittest.TestCase):
    def outcome(self, **changed) -> Outcome:
        return Outcome(**{"mails": 10, "faults": "", "lost": set(), "duplicates": 1, "bound": 1, "bound_is": "", "problems": [], **changed})

    def test_what_does_not_hold(self):
        self.assertTrue(self.outcome().held)
        for changed in ({"lost": {"x"}}, {"duplicates": 2}, {"problems": ["x"]}, {"mails": 0}):
            with self.subTest(changed):
                self.assertFalse(self.outcome(**changed).held)
        self.assertFalse(Outcome.not_run("no Kafka").held)

    def judged(self, sent: list[str], dead: dict, acknowledged: set[str], **options) -> Outcome:
        """A rig without processes, with this ledger and these dead letters."""
        with Rig("test", 1, None) as rig:
            rig.read_dead_letters = lambda: rig.dead
            rig.dead = dead
            (rig.directory / "ledger").write_text("".join(f"1.0 a 1 kept 250 {id} r@{HOST}\n" for id in sent))
            return rig.outcome(acknowledged, "", options.pop("bound", 0), "", seconds=0.1, **options)

    def test_by_id_not_by_count(self):
        self.assertTrue(self.judged(["x", "y"], {"z": "poison"}, {"x", "y", "z"}).held)
        self.assertEqual(self.judged(["x", "y"], {}, {"x", "z"}).lost, {"z"}, "as many as there should be, and one is missing")
        self.assertTrue(self.judged(["x"], {}, {"x", "z"}, also={"z"}).held)

    def test_second_copies(self):
        self.assertFalse(self.judged(["x", "x"], {}, {"x"}).held)
        self.assertTrue(self.judged(["x", "x"], {}, {"x"}, bound=1, allowed={"x"}).held)
        self.assertFalse(self.judged(["x", "x", "y"], {}, {"x", "y"}, bound=1, allowed={"y"}).held, "it had no reason to")
        self.assertFalse(self.judged(["x", "w"], {}, {"x"}, posted={"x"}).held, "nobody posted it")

    def test_an_address_in_a_log(self):
        with Rig("test", 1, None) as rig:
            (rig.directory / "a.log").write_text(f"sent to ada@{HOST}\n")
            problems: list[str] = []
            rig.stop_all(problems)
        self.assertEqual(len(problems), 1)

    def test_mails_are_the_same_for_the_same_seed(self):
        made = []
        for seed in (1, 1, 2):
            with Rig("test", seed, None) as rig:
                made.append([mail for mail in rig.mails(lambda rng: rng.choice("abc"), limit=20)])
        self.assertEqual(made[0], made[1])
        self.assertNotEqual(made[0], made[2])
        self.assertEqual(collections.Counter(mail["id"] for mail in made[0]).most_common(1)[0][1], 1)


class PageTest(unittest.TestCase):
    def test_it_is_what_the_code_says(self):
        self.assertEqual(reliability_page.page_with({}), reliability_page.PAGE.read_text(), "write it with run_scenarios.py --write-docs")

    def test_a_run_changes_its_cell_alone(self):
        scenario = SCENARIOS[3]
        outcome = Outcome(10, "faults | told", {"x"}, 0, 0, "", ["bad"])
        after = reliability_page.page_with({scenario.number: [(scenario.short[0], {"rate": 5}, outcome)]}, full=False, seed=9)
        changed = [new for new, old in zip(after.splitlines(), reliability_page.PAGE.read_text().splitlines()) if new != old]
        self.assertEqual(len(changed), 1)
        self.assertTrue(changed[0].startswith(f"| {scenario.number} | "))
        self.assertRegex(changed[0], r"10 mails at 5/s, faults \\\| told: lost 1, .*seed 9\. \*\*Did not hold\*\*: bad")

    def test_the_commands(self):
        commands = [line for line in reliability_page.PAGE.read_text().splitlines() if line.startswith("tests/faults/")]
        self.assertEqual(len(commands), 4)
        for command in commands:
            program = command.split()[0]
            self.assertTrue((ROOT / program).stat().st_mode & 0o100, program)
        self.assertIn(ROOT / "tests" / "faults", SUPPORT)


if __name__ == "__main__":
    unittest.main()
