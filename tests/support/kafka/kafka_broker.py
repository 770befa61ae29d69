#!/usr/bin/env python3
"""A real Kafka for tests and benchmarks: on loopback, with ports and a directory of its own, gone afterwards.

    with KafkaBroker() as kafka: ...                  kafka.bootstrap is "127.0.0.1:PORT"
    kafka_broker.py run -- COMMAND...                 COMMAND finds KAFKA_BROKERS in its environment
    kafka_broker.py start --state FILE                a daemon; FILE tells {"bootstrap", "pids", "dir", ...}
    kafka_broker.py stop --state FILE                 success, too, when nothing runs
    kafka_broker.py fetch                             only downloads, which the others do when needed

For ctest, `start` is a FIXTURES_SETUP and `stop` its FIXTURES_CLEANUP; tests find the brokers in FILE.
`start` always gives an empty Kafka: a daemon which FILE still names is stopped first. A daemon ends by itself after
--max-lifetime, when all its brokers are dead, and when FILE is gone or names another one, as after `rm -r build`.

Needs java (11 or later) and, for the download, mvn. The jars stay in $POSTBUS_CACHE or ~/.cache/postbus.
"""

import argparse
import base64
import contextlib
import fcntl
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
DIRECTORY_PREFIX = "postbus-kafka-"

FETCH_SECONDS = 900
START_SECONDS = 60
STOP_SECONDS = 15
MAX_LIFETIME_SECONDS = 90 * 60

EXIT_UNAVAILABLE = 69

# Of a broker that denies what it is told to deny.
WITH_ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
ACL_TOPIC, ACL_LITERAL, ACL_ANY_OPERATION, ACL_WRITE = 2, 3, 2, 4

# The kernel kills the child when the thread that started it ends, so nothing outlives us however we die.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


class KafkaError(Exception):
    """Kafka cannot be had; the text says why and is all a user needs to see."""


class PortTaken(KafkaError):
    """Somebody took a port between our choosing it and the broker's binding it."""


class KafkaBroker:
    """One Kafka cluster of `brokers` nodes, each broker and controller at once.

    Not thread-safe. The thread that calls start() must live as long as the brokers: see DIE_WITH_PARENT.
    """

    def __init__(self, brokers: int = 1, settings: dict | None = None):
        """`settings` of each broker, beside ours."""
        self.brokers = brokers
        self._settings = settings or {}
        self.directory: pathlib.Path | None = None
        self._java: _Java | None = None
        self._ports: list[int] = []
        self._processes: list[subprocess.Popen] = []

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def alive(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def __enter__(self) -> "KafkaBroker":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self, attempts: int = 3) -> None:
        """Returns when every broker serves topics and consumer groups."""
        self._java = _Java(fetch_jars())
        for attempts_left in reversed(range(attempts)):
            try:
                return self._start_once()
            except BaseException as error:
                self.stop()
                if not isinstance(error, PortTaken) or not attempts_left:
                    raise

    def stop(self) -> None:
        """Ends the brokers, asked first and then forced, and removes their directory. Harmless when stopped."""
        if self.brokers == 1:  # the last of several would wait 5 s for a quorum that is gone
            for process in self._processes:
                process.terminate()
                process.send_signal(signal.SIGCONT)  # a test may have paused it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if process.wait(STOP_SECONDS) == 128 + signal.SIGTERM:
                        self._java.keep_class_archive(self._home(1))
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory, self._ports, self._processes = None, [], []

    def kill(self) -> None:
        """kill -9 of all brokers; what they have stored stays."""
        for process in self._processes:
            process.kill()
            process.wait()

    def start_again(self) -> None:
        """After kill(): the same brokers at the same ports, once their sessions (broker.session.timeout.ms) of before have
        ended. Somebody may have taken a port meanwhile: PortTaken."""
        self._start_brokers()

    def end_node(self, node: int, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends one of several, from 1 on, while the others go on: SIGTERM hands its leaders over first, SIGKILL does not."""
        self._processes[node - 1].send_signal(number)
        self._processes[node - 1].wait(START_SECONDS)

    def start_node(self, node: int) -> None:
        """An ended one again, with its data; returns when every broker sees all of them. After SIGKILL that is half a
        minute: the others wait for the end of its session."""
        self._processes[node - 1] = self._run_java(node, "kafka.Kafka", "server.properties")
        self._wait_until_ready(2 * START_SECONDS)

    def _start_once(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
        ports = _free_ports(2 * self.brokers)
        self._ports, controller_ports = ports[: self.brokers], ports[self.brokers :]
        nodes = range(1, self.brokers + 1)
        for node in nodes:
            self._home(node).mkdir()
            self._write_settings(node, controller_ports)
        self._format(nodes)
        self._start_brokers()

    def _start_brokers(self) -> None:
        self._processes = [
            self._run_java(node, "kafka.Kafka", "server.properties", record_classes=self.brokers == 1)
            for node in range(1, self.brokers + 1)
        ]
        self._wait_until_ready()

    def _home(self, node: int) -> pathlib.Path:
        return self.directory / f"node-{node}"

    def _write_settings(self, node: int, controller_ports: list[int]) -> None:
        voters = ",".join(f"{id}@127.0.0.1:{port}" for id, port in enumerate(controller_ports, start=1))
        replicas = min(3, self.brokers)
        settings = {
            "process.roles": "broker,controller",
            "node.id": node,
            "listeners": f"CLIENT://127.0.0.1:{self._ports[node - 1]},"
            f"CONTROLLER://127.0.0.1:{controller_ports[node - 1]}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": voters,
            "log.dirs": self._home(node) / "data",
            "auto.create.topics.enable": "false",
            "num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min(2, replicas),
            # 128 MiB in one piece by default, a quarter of the heap: a start beside other work failed of it.
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
            **self._settings,
        }
        if self.brokers == 1:
            # Nobody could take over: a broker that has no CPU for 9 s would be fenced, and its partitions have no leader.
            settings.setdefault("broker.session.timeout.ms", 60_000)
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self._home(node) / "server.properties").write_text(text)

    def _format(self, nodes: range) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tools = [
            self._run_java(
                node, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config=server.properties"
            )
            for node in nodes
        ]
        try:
            for node, tool in zip(nodes, tools):
                if tool.wait(START_SECONDS) != 0:
                    raise KafkaError(f"Kafka's storage cannot be formatted:\n{_tail(self._log(node))}")
        except subprocess.TimeoutExpired:
            raise KafkaError(f"formatting Kafka's storage took longer than {START_SECONDS} s") from None
        finally:
            for tool in tools:
                tool.kill()
                tool.wait()

    def _run_java(self, node: int, *command: str, record_classes: bool = False) -> subprocess.Popen:
        home = self._home(node)
        with open(home / "server.log", "ab") as log:
            return subprocess.Popen(
                [*DIE_WITH_PARENT, *self._java.command(home, record_classes), *command],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop the brokers
            )

    def _wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        waiting = list(self._ports)
        while waiting:
            for node, process in enumerate(self._processes, start=1):
                if process.poll() is not None:
                    log = self._log(node)
                    error = PortTaken if "Address already in use" in log else KafkaError
                    raise error(f"Kafka ended while starting, exit code {process.returncode}:\n{_tail(log)}")
            if time.monotonic() > deadline:
                raise KafkaError(f"Kafka is not ready after {seconds} s:\n{_tail(self._log(1))}")
            if _serves(waiting[0], self.brokers):
                waiting.pop(0)
            else:
                time.sleep(0.02)

    def _log(self, node: int) -> str:
        return (self._home(node) / "server.log").read_text(errors="replace")


class _Java:
    """How to run the fetched Kafka with the java on PATH."""

    def __init__(self, jars: pathlib.Path):
        try:
            answer = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=30).stderr
        except FileNotFoundError:
            raise KafkaError("java is not on PATH; on Debian: apt-get install openjdk-17-jre-headless") from None
        found = re.search(r'version "((?:1\.)?(\d+)[^"]*)"', answer)
        if not found:
            raise KafkaError(f"java -version gives no version:\n{answer}")
        self._release = int(found[2])
        if self._release < 11:
            raise KafkaError(f"Kafka needs java 11 or later; the java on PATH is {found[1]}")
        self._jars = jars
        self._archive = jars / f"classes-{found[1]}.jsa"

    def command(self, home: pathlib.Path, record_classes: bool) -> list[str]:
        # Measured: with the archive, neither the serial collector nor C1 alone starts noticeably faster, and C1 doubles
        # what a small produce request costs the broker.
        return [
            "java",
            "-Xmx512m",
            "-XX:+UseG1GC",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",  # it would leave a file in /tmp
            *self._class_archive(home, record_classes),
            f"-Djava.io.tmpdir={home}",
            f"-Dlog4j.configuration={(HERE / 'log4j.properties').as_uri()}",
            "-cp",
            ":".join(str(jar) for jar in sorted(self._jars.glob("*.jar"))),
        ]

    # Java's archive of loaded classes halves the CPU of a start. The first broker that stops leaves it. It is good for
    # this java and these jars only; java itself does without one that does not fit.
    def _class_archive(self, home: pathlib.Path, record: bool) -> list[str]:
        if self._archive.exists():
            return [f"-XX:SharedArchiveFile={self._archive}"]
        if record and self._release >= 13:
            return [f"-XX:ArchiveClassesAtExit={home / self._archive.name}"]
        return []

    def keep_class_archive(self, home: pathlib.Path) -> None:
        recorded = home / self._archive.name
        with contextlib.suppress(OSError):  # without it a start only takes longer
            mine = self._archive.with_suffix(f".{os.getpid()}")
            shutil.copy(recorded, mine)
            mine.replace(self._archive)


def fetch_jars() -> pathlib.Path:
    """Returns the directory of Kafka's jars, downloading them when this pom's are not cached."""
    pom = HERE / "pom.xml"
    version = xml.etree.ElementTree.parse(pom).findtext(".//{*}kafka.version")
    cache = pathlib.Path(os.environ.get("POSTBUS_CACHE") or "~/.cache/postbus").expanduser().absolute()
    jars = cache / f"kafka-{version}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"kafka-{version}.lock"):
        if _is_copy(jars / "pom.xml", pom):
            return jars
        print(f"fetching Kafka {version} into {jars}", file=sys.stderr, flush=True)
        partial = cache / f"kafka-{version}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _copy_dependencies(pom, partial)
        shutil.copy(pom, partial)
        shutil.rmtree(jars, ignore_errors=True)
        partial.rename(jars)
    return jars


def _copy_dependencies(pom: pathlib.Path, directory: pathlib.Path) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
    mvn = ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "-f", str(pom), *goal]
    if not shutil.which("mvn"):
        raise KafkaError("mvn is not on PATH, and Kafka is not cached yet; on Debian: apt-get install maven")
    try:
        done = subprocess.run(
            [*DIE_WITH_PARENT, *mvn], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise KafkaError(f"fetching Kafka took longer than {FETCH_SECONDS} s") from None
    if done.returncode != 0:
        raise KafkaError(f"Kafka cannot be fetched:\n{done.stdout}")


def create_topic(bootstrap: str, name: str, partitions: int = 1, replicas: int = 1) -> None:
    """For tools that cannot, such as kcat: brokers here create no topic by themselves."""
    topic = _string(name) + struct.pack(">ihii", partitions, replicas, 0, 0)
    timeout_ms, validate_only = 10_000, False
    request = struct.pack(">i", 1) + topic + struct.pack(">i?", timeout_ms, validate_only)
    answer = _ask(_first_port(bootstrap), api=19, version=2, body=request)
    throttled_and_count = 8
    (code,) = struct.unpack_from(">h", answer, throttled_and_count + len(_string(name)))
    if code != 0:
        raise KafkaError(f"topic {name} cannot be created: Kafka's error code {code}")


def deny_writes(bootstrap: str, topic: str) -> None:
    """Nobody may write to the topic any more. REQUIRES: KafkaBroker(settings=WITH_ACLS)."""
    for operation, permission in ((ACL_ANY_OPERATION, 3), (ACL_WRITE, 2)):  # 3 allows, 2 denies
        rule = struct.pack(">b", ACL_TOPIC) + _string(topic) + struct.pack(">b", ACL_LITERAL)
        rule += _string("User:ANONYMOUS") + _string("*") + struct.pack(">bb", operation, permission)
        answer = _ask(_first_port(bootstrap), api=30, version=1, body=struct.pack(">i", 1) + rule)
        _check_first_code(answer, f"writing to {topic} cannot be denied")


def allow_writes(bootstrap: str, topic: str) -> None:
    """The reverse."""
    any_one, none = 1, struct.pack(">h", -1)
    rules = struct.pack(">b", ACL_TOPIC) + _string(topic) + struct.pack(">b", ACL_LITERAL) + none + none
    rules += struct.pack(">bb", any_one, any_one)
    answer = _ask(_first_port(bootstrap), api=31, version=1, body=struct.pack(">i", 1) + rules)
    _check_first_code(answer, f"writing to {topic} cannot be allowed")


def _first_port(bootstrap: str) -> int:
    return int(bootstrap.split(",")[0].rpartition(":")[2])


def _check_first_code(answer: bytes, problem: str) -> None:
    throttled_and_count = 8
    (code,) = struct.unpack_from(">h", answer, throttled_and_count)
    if code != 0:
        raise KafkaError(f"{problem}: Kafka's error code {code}")


def delete_topics(bootstrap: str, names: list[str]) -> None:
    """A shared broker is the slower for each partition it has. Topics that are not there are no error."""
    timeout_ms = 10_000
    request = struct.pack(">i", len(names)) + b"".join(map(_string, names)) + struct.pack(">i", timeout_ms)
    answer = _ask(_first_port(bootstrap), api=20, version=1, body=request)
    at, unknown_topic = 8, 3  # after the throttling time and the count
    for _ in names:
        (length,) = struct.unpack_from(">h", answer, at)
        (code,) = struct.unpack_from(">h", answer, at + 2 + length)
        if code not in (0, unknown_topic):
            raise KafkaError(f"topics cannot be deleted: Kafka's error code {code}")
        at += 4 + length


def _serves(port: int, brokers: int) -> bool:
    """Whether this broker sees all brokers unfenced and has a group coordinator, which makes the offsets topic."""
    try:
        no_topics = struct.pack(">i", 0)
        (seen,) = struct.unpack_from(">i", _ask(port, api=3, version=1, body=no_topics, timeout=2))
        if seen < brokers:
            return False
        (code,) = struct.unpack_from(">h", _ask(port, api=10, version=0, body=_string("readiness"), timeout=2))
        return code == 0
    except (OSError, struct.error):
        return False


def _ask(port: int, api: int, version: int, body: bytes, timeout: float = 15) -> bytes:
    """One request of the Kafka protocol; returns the answer after its correlation id."""
    request = struct.pack(">hhi", api, version, 0) + _string("kafka_broker.py") + body
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", stream.read(4))
            return stream.read(size)[4:]


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:  # all at once, or the kernel may give one twice
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _tail(log: str) -> str:
    return "\n".join(log.splitlines()[-40:])


def _is_copy(copy: pathlib.Path, original: pathlib.Path) -> bool:
    return copy.is_file() and copy.read_bytes() == original.read_bytes()


@contextlib.contextmanager
def _locked(path: pathlib.Path):
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the kernel if we die
        yield


def start_daemon(state: pathlib.Path, brokers: int, max_lifetime: float) -> None:
    fetch_jars()  # here and not in the supervisor, so that the user sees what takes so long
    state.parent.mkdir(parents=True, exist_ok=True)
    supervise = ["supervise", f"--state={state}", f"--brokers={brokers}", f"--max-lifetime={max_lifetime}"]
    with _locked(state.with_name(state.name + ".lock")):
        _end_daemon(state)
        supervisor = subprocess.Popen(
            [sys.executable, __file__, *supervise],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        report = supervisor.stdout.read()
        if report.strip() != "ready":
            supervisor.wait()
            raise KafkaError(report.strip().removeprefix("kafka_broker: "))


def stop_daemon(state: pathlib.Path) -> None:
    if state.exists():
        with _locked(state.with_name(state.name + ".lock")):
            _end_daemon(state)


def _end_daemon(state: pathlib.Path) -> None:
    daemon = _read_state(state)
    if daemon is None:
        return
    for pid, started in daemon["started"].items():  # the supervisor first; the brokers end with it
        _end_process(int(pid), started)
    if pathlib.Path(daemon["dir"]).name.startswith(DIRECTORY_PREFIX):
        shutil.rmtree(daemon["dir"], ignore_errors=True)
    state.unlink(missing_ok=True)


def supervise(state: pathlib.Path, brokers: int, max_lifetime: float) -> None:
    deadline = time.monotonic() + max_lifetime
    daemon = None
    try:
        with KafkaBroker(brokers) as kafka:
            daemon = {
                "bootstrap": kafka.bootstrap,
                "pids": kafka.pids,
                "dir": str(kafka.directory),
                "started": {str(pid): _start_time(pid) for pid in [os.getpid(), *kafka.pids]},
            }
            _write_state(state, daemon)
            print("ready", flush=True)
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)  # `start` waits for the end of our output
            os.dup2(nothing, 2)
            while time.monotonic() < deadline and kafka.alive() and _read_state(state) == daemon:
                time.sleep(0.5)
    finally:
        if daemon and _read_state(state) == daemon:
            state.unlink(missing_ok=True)


def _read_state(state: pathlib.Path) -> dict | None:
    try:
        return json.loads(state.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _write_state(state: pathlib.Path, daemon: dict) -> None:
    new = state.with_name(state.name + ".new")
    new.write_text(json.dumps(daemon) + "\n")
    new.replace(state)


def _start_time(pid: int) -> int | None:
    """Tells a process from a later one with the same pid."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _end_process(pid: int, started: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _start_time(pid) != started:
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], STOP_SECONDS + 5)
        if not ended:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], 5)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def run(brokers: int, command: list[str]) -> int:
    with KafkaBroker(brokers) as kafka:
        environment = {**os.environ, "KAFKA_BROKERS": kafka.bootstrap}
        child = subprocess.Popen([*DIE_WITH_PARENT, *command], env=environment)
        try:
            code = child.wait()
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it dies with us at the latest
                child.wait(STOP_SECONDS)
    return code if code >= 0 else 128 - code


def _exit_on_signal(number: int, _) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what follows is the cleaning up
    sys.exit(128 + number)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{start,stop,run,fetch}")
    for name in ("start", "supervise"):
        command = commands.add_parser(name)
        command.add_argument("--state", type=pathlib.Path, required=True)
        command.add_argument("--brokers", type=int, default=1)
        command.add_argument("--max-lifetime", type=float, default=MAX_LIFETIME_SECONDS, metavar="SECONDS")
    command = commands.add_parser("stop")
    command.add_argument("--state", type=pathlib.Path, required=True)
    command = commands.add_parser("run")
    command.add_argument("--brokers", type=int, default=1)
    command.add_argument("argv", nargs="+", metavar="COMMAND")
    commands.add_parser("fetch")
    return parser.parse_args(arguments)


def main() -> int:
    options = _parse(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _exit_on_signal)
    try:
        match options.command:
            case "start":
                start_daemon(options.state.absolute(), options.brokers, options.max_lifetime)
            case "stop":
                stop_daemon(options.state.absolute())
            case "supervise":
                supervise(options.state, options.brokers, options.max_lifetime)
            case "run":
                return run(options.brokers, options.argv)
            case "fetch":
                fetch_jars()
    except KafkaError as error:
        print(f"kafka_broker: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
