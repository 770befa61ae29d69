"""Runs a built postbus and the mail servers it sends to, for end-to-end tests and the demo.

    with Mailbox(directory) as mailbox, Postbus(build, config, log=file, environment={...}) as postbus:
        answer = post(postbus.api, {"to": "ada@example.com", ...})

Everything listens on loopback at free ports and ends with this process, however it ends. Used from one thread.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent

START_SECONDS = 60
STOP_SECONDS = 60

# The kernel ends the child when the thread that started it ends, so nothing outlives us however we die.
END_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


class ProcessError(Exception):
    """A process did not do what was asked; the text has the end of its log."""


def wait_until(condition, seconds: float, what):
    """Returns the first true value of condition(). `what`: a text, or a function that gives it when it is needed."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ProcessError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


class Postbus:
    """One `postbus serve`, `host` or `api`."""

    def __init__(self, build, config, *, log, role="serve", options=(), settings=None, environment=None, wrapper=()):
        """`settings` become --set options; listeners get free ports unless they are set. `wrapper` runs it: strace."""
        self._role = role
        settings = {"api.listen": "127.0.0.1:0", "admin.listen": "127.0.0.1:0", **(settings or {})}
        self.command = [
            *wrapper,
            str(pathlib.Path(build) / "bin" / "postbus"),
            role,
            "-c",
            str(config),
            *(f"--set={key}={value}" for key, value in settings.items()),
            *options,
        ]
        self.log = pathlib.Path(log)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen | None = None
        self._log_start = 0  # of this run's lines: the file is appended to
        self.api = self.admin = ""  # http://127.0.0.1:PORT

    def __enter__(self) -> "Postbus":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Returns when it listens, or raises with what it said."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [*END_WITH_PARENT, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for us; we stop it
            )
        try:
            self.admin = self.wait_for_log(r"admin listens.*?(http://[^\"\s]+)", START_SECONDS)[1]
        except BaseException:
            self.kill()
            raise
        api = re.search(r"api listens.*?(http://[^\"\s]+)", self.output())
        self.api = api[1] if api else ""

    def output(self) -> str:
        """What this run has written so far."""
        with open(self.log, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_for_log(self, pattern: str, seconds: float) -> re.Match:
        def found():
            ended = not self.is_running()
            match = re.search(pattern, self.output())
            if ended and not match:
                raise ProcessError(f"postbus {self._role} ended with exit code {self.code}:\n{self.tail()}")
            return match

        return wait_until(found, seconds, lambda: f"/{pattern}/ in the log of postbus {self._role}:\n{self.tail()}")

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        return self._process.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"postbus {self._role} still runs after {seconds} s:\n{self.tail()}") from None

    def stop(self) -> int:
        """SIGTERM, then waits; the exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """kill -9; harmless when it has ended."""
        if self.is_running():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def metric(self, name: str) -> float:
        """The sum over all labels of one metric; 0 when it is not there."""
        text = get(self.admin, "/metrics").body.decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def get(url: str, path: str) -> Answer:
    with Client(url) as client:
        return client.request("GET", path)


def post(url: str, mail, path: str = "/v1/emails") -> Answer:
    with Client(url) as client:
        return client.post(mail, path)


class Client:
    """A kept-alive connection to the HTTP API."""

    def __init__(self, url: str, timeout: float = 30):
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def post(self, mail, path: str = "/v1/emails", headers: dict | None = None) -> Answer:
        """`mail`: bytes as they are, anything else as JSON."""
        body = mail if isinstance(mail, bytes) else json.dumps(mail).encode()
        return self.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})


class Mailbox:
    """mailbox_server.py: keeps what it gets."""

    def __init__(self, directory, port: int = 0):
        self.directory = pathlib.Path(directory)
        self._command = [str(HERE / "mailbox_server.py"), str(directory), f"--port={port}"]
        self._process: subprocess.Popen | None = None
        self.port = 0

    def __enter__(self) -> "Mailbox":
        self._process = subprocess.Popen(
            [*END_WITH_PARENT, *self._command], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        line = self._process.stdout.readline()
        if not line:
            raise ProcessError(f"mailbox_server.py ended with exit code {self._process.wait()}")
        self.port = int(line)
        return self

    def __exit__(self, *_) -> None:
        _end(self._process)

    @property
    def environment(self) -> dict:
        return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(self.port), "SMTP_TLS": "none"}

    def entries(self) -> list[dict]:
        return [json.loads(line) for line in (self.directory / "index.jsonl").read_text().splitlines()]


class SmtpSink:
    """Postfix's smtp-sink: fast, keeps each mail whose final dot came as a file of its own; without directory, none."""

    def __init__(self, directory=None, *options: str):
        self.directory = None if directory is None else pathlib.Path(directory)
        self._options = options
        self._process: subprocess.Popen | None = None
        self._seen: dict[str, str] = {}  # file name -> id
        self.port = 0

    @staticmethod
    def program() -> str | None:
        return shutil.which("smtp-sink", path=os.environ["PATH"] + ":/usr/sbin:/sbin")

    def __enter__(self) -> "SmtpSink":
        keep = []
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            keep = ["-d", f"{self.directory}/mail"]
        for _ in range(5):  # somebody may take the port between our choosing it and the sink's binding it
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
            user = ["-u", "root"] if os.geteuid() == 0 else []
            command = [self.program(), *user, *self._options, *keep, f"127.0.0.1:{self.port}"]
            self._process = subprocess.Popen(
                [*END_WITH_PARENT, *command, "1000"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            with contextlib.suppress(ProcessError):
                wait_until(self._greets, 10, "smtp-sink's greeting")
                return self
            _end(self._process)
        raise ProcessError("smtp-sink does not start")

    def _greets(self) -> bool:
        if self._process.poll() is not None:
            raise ProcessError(f"smtp-sink ended: {self._process.stderr.read().decode()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                return connection.recv(4) == b"220 "
        except ConnectionRefusedError:
            return False

    def __exit__(self, *_) -> None:
        _end(self._process)

    @property
    def environment(self) -> dict:
        return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(self.port), "SMTP_TLS": "none"}

    def count(self) -> int:
        """About how many mails came so far, told fast: one under way counts, too."""
        return len(os.listdir(self.directory))

    def ids(self) -> list[str]:
        """The email id of each mail so far, from its Message-ID; one that came twice is there twice."""
        with os.scandir(self.directory) as files:
            for file in files:
                if file.name in self._seen:
                    continue
                try:
                    text = pathlib.Path(file.path).read_bytes()
                except FileNotFoundError:  # smtp-sink removes a mail whose client went away before the final dot
                    continue
                found = re.search(rb"^Message-ID:\s*<([^@>]+)@", text, re.MULTILINE)
                # A mail whose final dot has not come yet: smtp-sink ends a whole one with an empty line.
                if found and text.endswith(b"\n\n"):
                    self._seen[file.name] = found[1].decode()
        return list(self._seen.values())


def _end(process: subprocess.Popen | None) -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
