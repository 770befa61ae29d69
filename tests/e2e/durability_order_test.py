"""202 means durable. kill -9 cannot show it, since the kernel keeps what was written; the order of system calls does:
on SQLite fdatasync has returned, on Kafka the broker's acknowledgement has been read, before the 202 is written."""

import dataclasses
import re
import shutil
import struct
import unittest

import e2e
from postbus_process import Client, wait_until
from recording_smtp_server import RecordingSmtpServer

SYSTEM_CALLS = "fsync,fdatasync,read,readv,recvfrom,recvmsg,write,writev,pwrite64,sendto,sendmsg"
API_KEY_PRODUCE = 0


@dataclasses.dataclass
class Call:
    """One system call; `began` and `returned` are lines of the trace."""

    began: int
    returned: int
    name: str
    fd: int
    data: bytes  # what was read or written, as far as strace shows it
    result: int


def parse(trace: str) -> list[Call]:
    """Of `strace -f -xx`: calls in the order in which they returned. A call that was entered but did not return is none."""
    calls = []
    entered: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        match = re.match(r"(\d+) +(.*)", line)
        if not match:
            continue
        thread, text = match.groups()
        began = number
        if text.endswith("<unfinished ...>"):
            entered[thread] = (number, text.removesuffix("<unfinished ...>"))
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            began, begin_text = entered.pop(thread, (number, ""))
            text = begin_text + resumed[1]
        call = re.match(r"(\w+)\((\d+)\b(.*)= (-?\d+)", text)
        if call:
            escaped = "".join(re.findall(r'"((?:\\x[0-9a-f]{2})*)"', call[3]))
            data = bytes.fromhex(escaped.replace("\\x", ""))
            calls.append(Call(began, number, call[1], int(call[2]), data, int(call[4])))
    return calls


def is_sync(call: Call) -> bool:
    return call.name in ("fsync", "fdatasync") and call.result == 0


def is_answer(call: Call) -> bool:
    return call.data.startswith(b"HTTP/1.1 202")


def requests_with_answers(calls: list[Call]):
    """(index of the read of each request, index of its 202's write). One request is under way at a time."""
    request = None
    for index, call in enumerate(calls):
        if call.data.startswith(b"POST /v1/emails"):
            request = index
        elif is_answer(call):
            yield request, index
            request = None


def check_sqlite(calls: list[Call], ids: list[bytes]) -> tuple[int, list[str]]:
    """The number of answers seen, and what was out of order: the id written to a file, then a sync, then the 202."""
    problems = []
    answers = 0
    for (request, answer), id in zip(requests_with_answers(calls), ids, strict=True):
        answers += 1
        written = next((call for call in calls[request:answer] if call.name == "pwrite64" and id in call.data), None)
        if written is None:
            problems.append(f"202 number {answers} was written, and the mail had not been")
        elif not any(is_sync(call) and call.began > written.returned for call in calls[request:answer]):
            problems.append(f"202 number {answers} was written before a sync of the mail had returned")
    return answers, problems


def check_kafka(calls: list[Call], ids: list[bytes]) -> tuple[int, list[str]]:
    """The same for Kafka: the produce request with this id in it, its answer by its correlation id, then the 202."""
    problems = []
    answers = 0
    for (request, answer), id in zip(requests_with_answers(calls), ids, strict=True):
        answers += 1
        produced = acknowledged = False
        wanted = None
        for call in calls[request:answer]:
            if wanted is None and len(call.data) > 12 and id in call.data:
                _, key, _, correlation = struct.unpack(">ihhi", call.data[:12])
                if key == API_KEY_PRODUCE:
                    produced, wanted = True, (call.fd, struct.pack(">i", correlation))
            elif wanted and call.fd == wanted[0] and call.name.startswith(("read", "recv")) and call.result > 0:
                # The length may have been read before: the correlation id is at 4 or at 0.
                acknowledged |= wanted[1] in (call.data[4:8], call.data[:4])
        if not produced:
            problems.append(f"202 number {answers} was written, and no produce request had been")
        elif not acknowledged:
            problems.append(f"202 number {answers} was written before the acknowledgement was read")
    return answers, problems


class DurabilityOrder(e2e.TestCase):
    MAILS = 5

    def setUp(self):
        super().setUp()
        if not shutil.which("strace"):
            raise unittest.SkipTest("strace is not there; it is a Debian package of that name")
        self.server = self.enterContext(RecordingSmtpServer())

    def trace(self) -> tuple[list[Call], list[bytes]]:
        """Of `postbus api`, which does nothing but accept, while it answers a few mails one after the other."""
        trace = self.directory / "trace"
        strace = ["strace", "-f", "-xx", "-s", "10000", "-e", f"trace={SYSTEM_CALLS}", "-e", "signal=none", "-o", str(trace)]
        postbus = self.postbus(self.write_config(self.queue()), role="api", environment=self.server.environment,
                               wrapper=strace)  # fmt: skip
        postbus.start()
        ids = [e2e.new_id() for _ in range(self.MAILS)]
        with Client(postbus.api) as client:
            for id in ids:
                answer = client.post({"id": id, "to": f"a@{e2e.DOMAIN}", "template": "notice"})
                self.assertEqual(answer.status, 202, answer.body)
        wait_until(lambda: sum(map(is_answer, parse(trace.read_text()))) == self.MAILS, 10, "the last answer in the trace")
        postbus.kill()
        return parse(trace.read_text()), [id.encode() for id in ids]


class OnSqlite(e2e.OnSqlite, DurabilityOrder):
    def test_fdatasync_returns_before_the_202_is_written(self):
        calls, ids = self.trace()
        self.assertEqual(check_sqlite(calls, ids), (self.MAILS, []))

        # The check can fail: the same trace without syncs, with each sync after its answer, and with nothing written.
        self.assertEqual(len(check_sqlite([call for call in calls if not is_sync(call)], ids)[1]), self.MAILS)
        late, held = [], []
        for call in calls:
            if is_sync(call):
                held.append(call)
                continue
            late.append(call)
            if is_answer(call):
                late, held = late + held, []
        self.assertEqual(len(check_sqlite(late, ids)[1]), self.MAILS)
        self.assertEqual(len(check_sqlite([call for call in calls if call.name != "pwrite64"], ids)[1]), self.MAILS)


class OnKafka(e2e.OnKafka, DurabilityOrder):
    def test_the_acknowledgement_is_read_before_the_202_is_written(self):
        calls, ids = self.trace()
        self.assertEqual(check_kafka(calls, ids), (self.MAILS, []))

        # The check can fail: the same trace with nothing read from a broker, and with nothing produced.
        deaf = [call for call in calls if not (call.name.startswith(("read", "recv")) and not call.data.startswith(b"POST"))]
        self.assertEqual(len(check_kafka(deaf, ids)[1]), self.MAILS)
        silent = [call for call in calls if is_answer(call) or not call.name.startswith(("write", "send"))]
        self.assertEqual(len(check_kafka(silent, ids)[1]), self.MAILS)


if __name__ == "__main__":
    e2e.main()
