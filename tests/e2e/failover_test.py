"""What went where while a provider fails: by its answers, and by not being there. Judged by id, from what each server kept."""

import collections
import contextlib
import socket
import sys
import threading
import time

import documented
import e2e
from http_providers_test import PROVIDERS
from postbus_process import Client, wait_until
from recording_smtp_server import RecordingSmtpServer

sys.path.insert(0, str(e2e.ROOT / "tests" / "support" / "providers"))
from fake_providers import FakeProviders, Rule, make_certificates  # noqa: E402

# Generous: a busy machine is slow. An attempt's own time limits are seconds.
FAILOVER_SECONDS = 30
NAME = "primary.example"  # to the name service of these tests


class FailoverCase(e2e.TestCase):
    """A primary, and Postfix's smtp-sink as its backup."""

    HEAD = ["what the primary does", "mails", "by it", "by the backup", "dead letters", "went twice", "tries", "lost"]

    ROUTES = "[ { use: [primary, backup] } ]"
    backup = None

    def start_with(self, primary: str, **arguments):
        """`primary`: its transport in YAML."""
        if self.backup is None:
            self.backup = self.sink()
        breaker = "breaker: { probe_after: 1s }"
        transports = f"{{ primary: {primary.rstrip(' }')} }}, {breaker} }}, backup: {self.smtp(port=self.backup.port)} }}"
        self.config = self.write_config(
            self.queue_sqlite(), transports=transports, routes=self.ROUTES, retry="{ backoff: [1s], max_retries: 5 }"
        )
        postbus = self.postbus(self.config, **arguments)
        postbus.start()
        return postbus

    def http(self, provider: str, **options) -> str:
        written = ", ".join(f'{name}: "{value}"' for name, value in {**PROVIDERS[provider], **options}.items())
        return f"{{ plugin: {provider}, options: {{ {written} }} }}"

    def by_primary(self) -> list[str]:
        raise NotImplementedError

    def send(self, postbus, count: int, name: str = "user", bad: int = 0, bad_name: str = "") -> set[str]:
        """`bad` of them to addresses of another kind."""
        names = [f"{bad_name}+{i}" if i < bad else f"{name}+{i}" for i in range(count)]
        accepted: list[str] = []
        e2e.post_all(postbus.api, [{"to": f"{name}@{e2e.DOMAIN}", "template": "notice"} for name in names], accepted)
        self.assertEqual(len(accepted), count)
        return set(accepted)

    def settle(self, postbus, ids: set[str]) -> dict:
        """Waits for the ends of all; what became of them."""
        told: dict[str, dict] = {}  # id -> its last status

        def all_ended():
            with Client(postbus.api, timeout=e2e.PATIENCE_SECONDS) as client:
                for id in ids - told.keys():
                    status = client.request("GET", f"/v1/emails/{id}").json
                    if status["last_event"] in ("sent", "dead_lettered"):
                        told[id] = status
            return ids == told.keys()

        wait_until(all_ended, e2e.PATIENCE_SECONDS, lambda: f"the ends of {len(ids)} mails; {postbus.tail(5)}")
        letters = {id for id, status in told.items() if status["last_event"] == "dead_lettered"}
        primary = collections.Counter(id for id in self.by_primary() if id in ids)
        backup = collections.Counter(id for id in self.backup.ids() if id in ids)
        return {
            "primary": len(primary),
            "backup": len(backup),
            "dead letters": len(letters),
            "twice": sum((primary + backup).values()) - len(primary | backup),
            "both": len(primary & backup),
            "attempts": max(status["attempts"] for status in told.values()),
            "lost": len(ids - letters - set(primary) - set(backup)),
        }

    @staticmethod
    def cells(what: str, ids: set[str], result: dict) -> list:
        columns = ("primary", "backup", "dead letters", "twice", "attempts", "lost")
        return [what, len(ids), *(result[column] for column in columns)]

    def wait_until_it_is_used_again(self, postbus) -> None:
        """One mail after the other, until one goes by the primary: the probe."""
        deadline = time.monotonic() + e2e.PATIENCE_SECONDS
        while True:
            ids = self.send(postbus, 1)
            result = self.settle(postbus, ids)
            self.assertEqual((result["lost"], result["twice"], result["attempts"]), (0, 0, 1))
            if result["primary"]:
                return
            self.assertLess(time.monotonic(), deadline, "the primary is not used again")


class Answers:
    """Mixed with FailoverCase: `provider` answers with one trouble after the other."""

    provider = ""

    def by_primary(self):
        return self.fakes.ids()

    def row(self, postbus, what: str, mails: int, rules: list[Rule], bad: int = 0) -> list:
        """One trouble; over when its mails have ended."""
        with self.fakes.lock:
            self.fakes.rules[:] = rules
        ids = self.send(postbus, mails, bad=bad, bad_name="answer-400")
        if rules and rules[0].hang:
            wait_until(lambda: ids <= set(self.by_primary()), e2e.PATIENCE_SECONDS, "mails without an answer")
            with self.fakes.lock:
                self.fakes.rules.clear()
        result = self.settle(postbus, ids)
        self.assertEqual(result["both"], 0, "a second copy by the other provider")
        with self.fakes.lock:
            self.fakes.rules.clear()
        return self.cells(what, ids, result)

    def test_what_went_where(self):
        self.fakes = self.enterContext(FakeProviders(self.directory / "providers"))
        postbus = self.start_with(
            self.http(self.provider, base_url=self.fakes.url, ca_file=self.fakes.ca_file, timeout="5s", max_requests=64)
        )
        wait = {"Retry-After": "1"}
        rows = [
            self.row(postbus, "takes all; two addresses in two thousand are bad (400)", 2000, [], bad=2),
            self.row(postbus, "401, until the mails have ended", 100, [Rule(status=401)]),
        ]
        postbus.wait_for_log('"via":"backup","instead_of":"primary"', e2e.PATIENCE_SECONDS)
        self.wait_until_it_is_used_again(postbus)
        rows += [
            self.row(postbus, "five times 429 with `Retry-After: 1`", 100, [Rule(times=5, status=429, headers=wait)]),
            self.row(postbus, "once 429 without", 100, [Rule(times=1, status=429)]),
            self.row(postbus, "503, until the mails have ended", 100, [Rule(status=503)]),
        ]
        self.wait_until_it_is_used_again(postbus)
        rows += [
            self.row(postbus, "takes the mails and never answers: in doubt", 40, [Rule(hang=True)]),
            self.row(postbus, "takes all again", 100, []),
        ]
        self.assertEqual(postbus.stop(), 0)
        documented.check(self, "answers", documented.table(self.HEAD, rows))


class SmtpAnswers(FailoverCase):
    """What an SMTP server says of single mails moves none to the backup."""

    class Server(RecordingSmtpServer):
        """No mailbox for bad+…@; greylists later+…@: 451 the first time."""

        def __init__(self):
            super().__init__()
            self._seen: set[bytes] = set()

        def reply_to_recipient(self, command):
            if b"<bad" in command:
                return b"550 5.1.1 no such mailbox"
            if b"<later" in command and command not in self._seen:
                self._seen.add(command)
                return b"451 4.7.1 come again later"
            return super().reply_to_recipient(command)

    def by_primary(self):
        return self.server.ids()

    def test_what_went_where(self):
        self.server = self.enterContext(self.Server())
        postbus = self.start_with(self.smtp(port=self.server.port))
        refused = self.send(postbus, 2000, bad=2, bad_name="bad")
        rows = [self.cells("550 to two recipients of two thousand", refused, self.settle(postbus, refused))]
        later = self.send(postbus, 100, "later")
        rows.append(self.cells("451 to each, the first time", later, self.settle(postbus, later)))
        self.assertEqual(postbus.stop(), 0)
        documented.check(self, "smtp answers", documented.table(self.HEAD, rows))


class Mailtrap(Answers, FailoverCase):
    provider = "mailtrap"


class SendGrid(Answers, FailoverCase):
    provider = "sendgrid"


class Ses(Answers, FailoverCase):
    provider = "ses"


class Gate:
    """A port in front of a server: passes connections on, lets them hang, or is closed."""

    def __init__(self, target: int):
        self._target = target  # a port
        self._connections: set[socket.socket] = set()
        self._hanging: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> "Gate":
        self.open()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def open(self, target: int | None = None, hangs: bool = False) -> None:
        """From now on new connections lead to `target`, else to the usual one. Former ones end."""
        self.close()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=200)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener, target or self._target, hangs), daemon=True).start()

    def close(self) -> None:
        """Connections are refused; those that are there end."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            self._listener.close()
            self._listener = None
        with self._lock:
            for each in self._connections:
                self._shut(each)  # whoever reads from it closes it
            for each in self._hanging:
                each.close()
            self._connections.clear()
            self._hanging.clear()

    @staticmethod
    def _shut(each: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it has ended
            each.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket, target: int, hangs: bool) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if hangs:
                with self._lock:
                    self._hanging.append(client)
                continue
            server = socket.create_connection(("127.0.0.1", target))
            with self._lock:
                self._connections |= {client, server}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        self._shut(sink)
        with self._lock:
            self._connections.discard(source)
        source.close()


class PrimaryDown:
    """Mixed with FailoverCase: it cannot be reached. Mails go by the backup within seconds and come back after the probe."""

    MAILS = 100

    def serve(self, directory: str, name: str):
        """A server with a certificate for this name: its port, and the CA's file."""
        raise NotImplementedError

    def transport(self, port: int, ca_file) -> str:
        raise NotImplementedError

    def test_four_ways(self):
        self.no_such_name = self.directory / "no-such-name"
        port, ca_file = self.serve("primary", NAME)
        others_port, _ = self.serve("other", "other.example")
        gate = self.enterContext(Gate(port))
        self.primary = self.transport(gate.port, ca_file)
        rows = [
            *self.rows("refuses connections", gate, gate.close),
            # A name that was found is good for a minute: not again.
            *self.rows("has no name (DNS)", gate, self.no_such_name.touch, again=False),
            *self.rows("shows another's certificate (TLS)", gate, lambda: gate.open(target=others_port)),
            *self.rows("accepts and says nothing", gate, lambda: gate.open(hangs=True)),
        ]
        documented.check(self, "down", documented.table(self.HEAD, rows))

    def rows(self, way: str, gate: Gate, down, again: bool = True) -> list:
        """Is down when postbus starts, comes back, and is down again."""
        environment = {"LD_PRELOAD": str(e2e.BUILD / "tests" / "name_service.so"), "NAME_SERVICE_DOWN": str(self.no_such_name)}
        down()
        postbus = self.start_with(self.primary, environment=environment)
        rows = [self.row(postbus, way)]
        postbus.wait_for_log("transport fails for every mail", e2e.PATIENCE_SECONDS)
        self.no_such_name.unlink(missing_ok=True)
        gate.open()
        self.wait_until_it_is_used_again(postbus)
        postbus.wait_for_log("transport works again", e2e.PATIENCE_SECONDS)
        rows.append(self.row(postbus, "comes back"))
        if again:
            down()
            rows.append(self.row(postbus, f"{way}, after it has worked"))
        self.assertGreaterEqual(postbus.metric("postbus_email_failovers_total"), (1 + again) * self.MAILS)
        self.assertEqual(postbus.metric("postbus_email_dlq_total"), 0)
        self.assertEqual(postbus.stop(), 0)
        gate.open()
        return rows

    def row(self, postbus, what: str) -> list:
        start = time.monotonic()
        ids = self.send(postbus, self.MAILS)
        result = self.settle(postbus, ids)
        self.assertLess(time.monotonic() - start, FAILOVER_SECONDS)
        return self.cells(what, ids, result)


class HttpDown(PrimaryDown, FailoverCase):
    def serve(self, directory, name):
        fakes = self.enterContext(FakeProviders(self.directory / directory, names=(name,)))
        if name == NAME:
            self.fakes = fakes
        return fakes.port, fakes.ca_file

    def transport(self, port, ca_file):
        return self.http("sendgrid", base_url=f"https://{NAME}:{port}", ca_file=ca_file, connect_timeout="2s")

    def by_primary(self):
        return self.fakes.ids()


class SmtpDown(PrimaryDown, FailoverCase):
    def serve(self, directory, name):
        folder = self.directory / directory
        folder.mkdir()
        make_certificates(folder / "ca.pem", folder / "server.pem", (name,))
        server = self.enterContext(RecordingSmtpServer(folder / "server.pem"))
        if name == NAME:
            self.server = server
        return server.port, folder / "ca.pem"

    def transport(self, port, ca_file):
        return self.smtp(host=NAME, port=port, tls="implicit", tls_ca_file=ca_file, connect_timeout="2s", tls_timeout="2s")

    def by_primary(self):
        return self.server.ids()


if __name__ == "__main__":
    e2e.main()
