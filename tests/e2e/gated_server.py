"""An SMTP server whose replies to the final dot can be held back."""

import re
import threading

from recording_smtp_server import RecordingSmtpServer


class GatedServer(RecordingSmtpServer):
    """Keeps a ledger: which mails were complete, which were answered. While the gate is closed no final dot is answered."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self._ledger = threading.Lock()
        self._complete: list[str] = []
        self._answered: list[str] = []

    def reply_to(self, data: bytes) -> bytes:
        id = re.search(rb"(?im)^Message-ID:\s*<([^@>]+)@", data)[1].decode()
        with self._ledger:
            self._complete.append(id)
        self.gate.wait()
        with self._ledger:
            self._answered.append(id)
        return b"250 2.0.0 kept"

    def _talk(self, read, write, session) -> None:
        try:
            super()._talk(read, write, session)
        except OSError:
            pass  # killed

    def complete(self) -> list[str]:
        with self._ledger:
            return list(self._complete)

    def answered(self) -> list[str]:
        with self._ledger:
            return list(self._answered)
