#!/usr/bin/env python3
"""An SMTP server that misbehaves on request and keeps a ledger of every mail: what a fault scenario is judged by.

    with LedgerServer(file, ["a", "b"]) as server:      a port a label, in a process of its own
        server.port("a"), server.environment("a"), server.do("gate", "a", "closed"), server.read()

What happens to a mail is said by the local part of its first recipient, `FAULT[,FAULT…]+anything@…`, where FAULT is
`PHASE-ACTION[-TIMES]`: ACTION when this recipient's mail comes to PHASE, the first TIMES times (default: always).
  phases:  mail (counts in the recipient's RCPT, which PIPELINING sends along) rcpt data body (after its first bytes) dot
  actions: a reply code (421 closes, too) | fin | rst | hang (reads no more, either); data-slow is answered after a while
At `dot` the mail has arrived as a whole, whatever is answered. What happens to all is said by `do`:
  answer LABEL PHASE ACTION   from now on, also for connect and ehlo; ACTION `-` ends it
  gate LABEL closed|open      no final dot is answered while it is closed
  delay LABEL MS              each final dot is answered so much later

The ledger has a line an entry, in the order things happened:
  TIME LABEL CONNECTION WHAT CODE ID RECIPIENT
  kept     the mail is complete, and CODE was sent for it           dot    it is complete, the answer is still to come
  reply    CODE was sent for it                                     lost   it is complete, and there will be no answer
  refused  CODE was sent before it was complete; ID is the phase    cut    the connection was broken before that, likewise
  gone     the connection ended. ID: the last complete mail on it, if the client may not know its answer
TIME is the wall clock's, in seconds. A client that kept to the protocol has read an answer when it sends the first bytes of
the next mail.
"""

import asyncio
import collections
import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time

END_OF_DATA = b"\r\n.\r\n"
MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^@>]+)@", re.MULTILINE | re.IGNORECASE)
TEXTS = {4: "4.3.0 not now", 5: "5.7.1 not you", 2: "2.0.0 ok"}
NONE = "-"
SLOW_SECONDS = 1.5


# --- the server ---


class Ledger:
    """An entry is in the file before the answer it is about is sent."""

    def __init__(self, file: str):
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, session: "Session", what: str, code=0, id: str = NONE, recipient: str = NONE) -> None:
        line = f"{time.time():.4f} {session.side.label} {session.number} {what} {code} {id} {recipient or NONE}\n"
        os.write(self._file, line.encode())


class Side:
    """What is the same for all connections of a port."""

    def __init__(self, label: str, ledger: Ledger):
        self.label = label
        self.ledger = ledger
        self.answers: dict[str, str] = {}  # phase -> action
        self.delay = 0.0
        self.gated: list | None = None  # closed: what is to be answered when it opens
        self.times: collections.Counter = collections.Counter()  # (fault, recipient) -> so far
        self.sessions: set[Session] = set()
        self.count = 0

    def slow(self, recipient: str) -> bool:
        return recipient.startswith("data-slow")

    def action(self, phase: str, recipient: str) -> str | None:
        if phase in self.answers:
            return self.answers[phase]
        plus = recipient.find("+")
        if plus < 0:
            return None
        for fault in recipient[:plus].split(","):
            parts = fault.split("-")
            if len(parts) < 2 or parts[0] != phase:
                continue
            if len(parts) == 2:
                return parts[1]
            key = (fault, recipient)
            if self.times[key] < int(parts[2]):
                self.times[key] += 1
                return parts[1]
        return None


class Session(asyncio.Protocol):
    def __init__(self, side: Side):
        self.side = side
        side.count += 1
        self.number = side.count
        self.input = bytearray()
        self.in_body = False
        self.searched = 0
        self.recipient = ""
        self.unknown_answer = ""  # id of the complete mail whose answer the client may not have read
        self.waiting = False  # for an answer of ours: what the client pipelines behind it stays unread
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.side.sessions.add(self)
        if not self.act("connect"):
            self.say(b"220 ledger.localhost ESMTP")

    def connection_lost(self, _):
        self.side.sessions.discard(self)
        self.side.ledger.write(self, "gone", id=self.unknown_answer or NONE)

    def data_received(self, data):
        self.input += data
        self.go_on()

    def go_on(self) -> None:
        while not self.waiting and not self.transport.is_closing():
            if self.in_body:
                if not self.read_body():
                    return
            else:
                end = self.input.find(b"\r\n")
                if end < 0:
                    return
                line = bytes(self.input[:end])
                del self.input[: end + 2]
                self.command(line)

    def command(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"RCPT":
            # What is asked for MAIL counts here, too: only now it is known whom the mail is to.
            recipient = line[line.find(b"<") + 1 : line.find(b">")].decode(errors="replace")
            self.recipient = self.recipient or recipient
            if not self.act("mail", recipient) and not self.act("rcpt", recipient):
                self.say(b"250 2.1.5 ok")
        elif verb == b"MAIL":
            self.recipient = ""
            self.say(b"250 2.1.0 ok")
        elif verb == b"DATA":
            if not self.recipient:
                self.say(b"554 5.5.1 no recipients")
            elif self.side.slow(self.recipient):
                self.waiting = True
                asyncio.get_running_loop().call_later(SLOW_SECONDS, self.begin_body)
            elif not self.act("data", self.recipient):
                self.begin_body()
        elif verb == b"EHLO":
            if not self.act("ehlo"):
                self.say(b"250-ledger.localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES")
        elif verb == b"QUIT":
            self.say(b"221 2.0.0 bye")
            self.unknown_answer = ""
            self.transport.close()
        else:
            self.say(b"250 2.0.0 ok")

    def begin_body(self) -> None:
        if self.transport.is_closing():
            return
        self.say(b"354 go on")
        self.in_body = True
        self.searched = 0
        if self.waiting:
            self.waiting = False
            self.go_on()

    def read_body(self) -> bool:
        if not self.input:
            return False
        self.unknown_answer = ""
        if self.searched == 0 and self.act("body", self.recipient):
            return False
        end = self.input.find(END_OF_DATA, max(0, self.searched - len(END_OF_DATA)))
        if end < 0:
            self.searched = len(self.input)
            return False
        mail = bytes(self.input[:end])
        del self.input[: end + len(END_OF_DATA)]
        self.in_body = False
        found = MESSAGE_ID.search(mail)
        self.complete(found[1].decode() if found else NONE)
        return True

    def complete(self, id: str) -> None:
        side, recipient = self.side, self.recipient
        action = side.action("dot", recipient)
        code = int(action) if action and action.isdigit() else 250
        if code == 250:
            self.unknown_answer = id
        if action and not action.isdigit():
            side.ledger.write(self, "lost", id=id, recipient=recipient)
            self.break_off(action)
        elif side.gated is not None or side.delay:
            side.ledger.write(self, "dot", id=id, recipient=recipient)
            self.waiting = True
            answer = lambda: self.answer(code, id, recipient)  # noqa: E731
            if side.gated is not None:
                side.gated.append(answer)
            else:
                asyncio.get_running_loop().call_later(side.delay, answer)
        else:
            side.ledger.write(self, "kept", code, id, recipient)
            self.reply(code)

    def answer(self, code: int, id: str, recipient: str) -> None:
        if self.transport.is_closing():
            return
        self.side.ledger.write(self, "reply", code, id, recipient)
        self.waiting = False
        self.reply(code)
        self.go_on()

    def act(self, phase: str, recipient: str = "") -> bool:
        """Does what is asked for; False: nothing is."""
        action = self.side.action(phase, recipient)
        if action is None:
            return False
        if action.isdigit():
            self.side.ledger.write(self, "refused", action, phase, recipient)
            if phase in ("mail", "rcpt"):
                self.recipient = ""
            self.reply(int(action))
        else:
            self.side.ledger.write(self, "cut", 0, phase, recipient)
            self.break_off(action)
        return True

    def break_off(self, action: str) -> None:
        if action == "hang":
            self.waiting = True
            self.transport.pause_reading()
        elif action == "rst":
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()

    def reply(self, code: int) -> None:
        self.say(f"{code} {TEXTS[code // 100]}".encode())
        if code == 421:
            self.transport.close()

    def say(self, text: bytes) -> None:
        self.transport.write(text + b"\r\n")


def obey(sides: dict[str, Side], words: list[str]):
    """One command of `do`; returns its answer."""
    command, label, *arguments = words
    side = sides[label]
    if command == "answer":
        phase, action = arguments
        side.answers.pop(phase, None)
        if action != NONE:
            side.answers[phase] = action
    elif command == "delay":
        side.delay = int(arguments[0]) / 1000
    elif command == "gate":
        if arguments[0] == "closed":
            side.gated = side.gated or []
        else:
            waiting, side.gated = side.gated or [], None
            for answer in waiting:
                answer()
    elif command == "unknown":
        ids = [session.unknown_answer for session in side.sessions if session.unknown_answer]
        in_body = sum(session.in_body and bool(session.input) for session in side.sessions)
        return {"ids": ids, "in_body": in_body, "connections": len(side.sessions)}
    else:
        raise ValueError(f"unknown command {command}")
    return {}


async def serve(file: str, labels: list[str]) -> None:
    loop = asyncio.get_running_loop()
    ledger = Ledger(file)
    sides = {label: Side(label, ledger) for label in labels}
    ports = {}
    for label, side in sides.items():
        server = await loop.create_server(lambda side=side: Session(side), "127.0.0.1", 0, backlog=1000)
        ports[label] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        answer = obey(sides, line.decode().split())
        print(json.dumps(answer), flush=True)


# --- its user's side ---


@dataclasses.dataclass(slots=True)
class Entry:
    time: float
    label: str
    connection: int
    what: str
    code: int
    id: str
    recipient: str


class LedgerServer:
    """Used from one thread."""

    def __init__(self, file, labels: list[str]):
        self.file = pathlib.Path(file)
        self._labels = labels
        self._process: subprocess.Popen | None = None
        self._ports: dict[str, int] = {}
        self._offset = 0
        self._entries: list[Entry] = []

    def __enter__(self) -> "LedgerServer":
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, __file__, str(self.file), *self._labels],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self._ports = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def port(self, label: str) -> int:
        return self._ports[label]

    def environment(self, label: str) -> dict:
        return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(self.port(label)), "SMTP_TLS": "none"}

    def do(self, *words) -> dict:
        """Returns when it holds."""
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the ledger's server has ended")
        return json.loads(line)

    def read(self) -> list[Entry]:
        """All entries so far; the list is extended by the next call."""
        with open(self.file, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        for line in data.decode().splitlines():
            time, label, connection, what, code, id, recipient = line.split(" ", 6)
            self._entries.append(Entry(float(time), label, int(connection), what, int(code), id, recipient))
        return self._entries


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))
