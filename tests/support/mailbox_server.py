#!/usr/bin/python3
"""A mailbox: an SMTP server on loopback that keeps every mail it gets.

    mailbox_server.py DIRECTORY [--port 0]

Prints its port on a line of its own, then serves until SIGTERM, SIGINT or the end of its parent. Each mail becomes
DIRECTORY/0001-SUBJECT.eml, byte for byte as it came, and then one line in DIRECTORY/index.jsonl with "file", "time",
"mail_from", "rcpt_tos", "message_id" and "subject": a mail in the index is whole.

Needs Debian's python3-aiosmtpd.
"""

import argparse
import asyncio
import ctypes
import email
import email.policy
import json
import pathlib
import re
import signal
import sys
import time

from aiosmtpd.smtp import SMTP

PR_SET_PDEATHSIG = 1


class Mailbox:
    """What aiosmtpd calls for each mail."""

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._count = 0

    async def handle_DATA(self, _server, _session, envelope) -> str:
        self._count += 1
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        subject = str(mail["Subject"] or "")
        words = re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")[:40]
        file = self._directory / f"{self._count:04}-{words or 'no-subject'}.eml"
        file.write_bytes(envelope.original_content)
        entry = {
            "file": str(file),
            "time": time.time(),
            "mail_from": envelope.mail_from,
            "rcpt_tos": envelope.rcpt_tos,
            "message_id": str(mail["Message-ID"] or ""),
            "subject": subject,
        }
        with open(self._directory / "index.jsonl", "a", encoding="utf-8") as index:
            index.write(json.dumps(entry) + "\n")
        return f"250 2.0.0 kept as {file.name}"


async def serve(directory: pathlib.Path, port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    mailbox = Mailbox(directory)
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="mailbox.localhost", enable_SMTPUTF8=True), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    options.directory.mkdir(parents=True, exist_ok=True)
    (options.directory / "index.jsonl").touch()
    try:
        asyncio.run(serve(options.directory, options.port))
    except OSError as error:
        print(f"mailbox_server: {error}", file=sys.stderr)
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main())
