"""An SMTP server that accepts everything, unless a subclass answers otherwise, and keeps every byte that came, to see what was on the wire.

    with RecordingSmtpServer() as server: ...         server.port; afterwards server.sessions(), server.mails()
"""

import dataclasses
import re
import socketserver
import ssl
import sys
import threading

END_OF_DATA = b"\r\n.\r\n"


@dataclasses.dataclass
class Session:
    commands: list[bytes] = dataclasses.field(default_factory=list)  # each with its line end
    data: list[bytes] = dataclasses.field(default_factory=list)  # after each DATA, up to and with the final dot


class RecordingSmtpServer:
    def __init__(self, certificate=None):
        """`certificate`: a PEM file with key and certificate; then it speaks TLS from the first byte."""
        self._sessions: list[Session] = []
        self._lock = threading.Lock()
        outer = self

        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)

        class Handler(socketserver.StreamRequestHandler):
            def setup(self):
                if context is not None:
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self):
                try:
                    super().finish()
                finally:
                    self.request.close()

            def handle(self):
                session = Session()
                with outer._lock:
                    outer._sessions.append(session)
                outer._talk(self.rfile, self.wfile, session)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 100

            def handle_error(self, request, client_address):
                """Clients go away, and some do not trust us."""
                if not isinstance(sys.exc_info()[1], OSError):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    @property
    def environment(self) -> dict:
        return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(self.port), "SMTP_TLS": "none"}

    def __enter__(self) -> "RecordingSmtpServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sessions(self) -> list[Session]:
        with self._lock:
            return list(self._sessions)

    def mails(self) -> list[bytes]:
        """Every mail whose final dot came, as it was on the wire."""
        return [data for session in self.sessions() for data in session.data if data.endswith(END_OF_DATA)]

    def ids(self) -> list[str]:
        """Of each of them the email id, from its Message-ID."""
        return [re.search(rb"(?im)^Message-ID:\s*<([^@>]+)@", mail)[1].decode() for mail in self.mails()]

    def reply_to_recipient(self, command: bytes) -> bytes:
        return b"250 2.1.5 ok"

    def reply_to(self, data: bytes) -> bytes:
        """What the final dot is answered with."""
        return b"250 2.0.0 kept"

    def _talk(self, read, write, session: Session) -> None:
        def answer(text: bytes) -> None:
            write.write(text + b"\r\n")
            write.flush()

        answer(b"220 recorder.localhost ESMTP")
        while line := read.readline():
            session.commands.append(line)
            verb = line[:4].upper()
            if verb == b"EHLO":
                answer(b"250-recorder.localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES")
            elif verb == b"RCPT":
                answer(self.reply_to_recipient(line))
            elif verb == b"DATA":
                answer(b"354 go on")
                body = b"\r\n"  # what ends the command also begins a final dot
                while not body.endswith(END_OF_DATA):
                    more = read.readline()
                    if not more:
                        session.data.append(body[2:])
                        return
                    body += more
                session.data.append(body[2:])
                answer(self.reply_to(body[2:]))
            elif verb == b"QUIT":
                answer(b"221 2.0.0 bye")
                return
            else:
                answer(b"250 2.0.0 ok")
