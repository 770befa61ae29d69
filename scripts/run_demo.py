"""What ./demo runs once postbus is built. Everything it starts ends with it; what it writes is below build/demo/."""

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "support" / "kafka")]

import kafka_broker  # noqa: E402
import postbus_process as processes  # noqa: E402

BUILD = ROOT / "build" / "release"
RUNS = ROOT / "build" / "demo"
TEMPLATES = ("password-reset", "welcome", "order-confirmation")
ARRIVE_SECONDS = 60
EXIT_UNAVAILABLE = 69


def new_run_directory(stack: contextlib.ExitStack) -> pathlib.Path:
    """An empty one, locked while we live; those of demos that have ended are removed."""
    for old in RUNS.glob("run-*"):
        with contextlib.suppress(OSError), open(old / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=RUNS))
    lock = stack.enter_context(open(directory / "lock", "w"))
    fcntl.flock(lock, fcntl.LOCK_EX)
    return directory


def default_or_free(port: int) -> int:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return port
    return 0


def sample_mail(template: str) -> dict:
    data = json.loads((ROOT / "templates" / template / "sample.json").read_text(encoding="utf-8"))
    return {"to": "Anna Lopez <anna@example.com>", "template": template, "data": data}


def start_postbus(stack: contextlib.ExitStack, directory: pathlib.Path, environment: dict, kafka: bool):
    def start(api_port: int, admin_port: int):
        postbus = processes.Postbus(
            BUILD,
            ROOT / "config" / ("postbus.yaml" if kafka else "single-node.yaml"),
            log=directory / "postbus.log",
            settings={
                "state_dir": directory / "state",
                "api.listen": f"127.0.0.1:{api_port}",
                "admin.listen": f"127.0.0.1:{admin_port}",
                "log.format": "text",
                **({} if kafka else {"queue.sqlite.path": directory / "postbus.db"}),
            },
            environment=environment,
        )
        stack.enter_context(postbus)
        stack.callback(stop, postbus)
        return postbus

    def stop(postbus) -> None:
        with contextlib.suppress(processes.ProcessError):  # else it is killed
            postbus.terminate()
            postbus.wait(10)

    try:
        return start(default_or_free(8080), default_or_free(9464))
    except processes.ProcessError:  # somebody, such as a second demo, may have taken a port in between
        return start(0, 0)


def wait_for_mails(mailbox, ids: list[str]) -> None:
    missing = set(ids)
    seen = 0

    def all_arrived() -> bool:
        nonlocal seen
        entries = mailbox.entries()
        for entry in entries[seen:]:
            for mail_id in [id for id in missing if id in entry["message_id"]]:
                missing.discard(mail_id)
                print(f"  arrived: {entry['subject']}\n           {entry['file']}", flush=True)
        seen = len(entries)
        return not missing

    processes.wait_until(all_arrived, ARRIVE_SECONDS, f"the arrival of {len(ids)} mails")


def demo(options: argparse.Namespace, stack: contextlib.ExitStack) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    directory = new_run_directory(stack)
    environment = {}
    if options.kafka:
        print("starting Kafka …", flush=True)
        kafka = stack.enter_context(kafka_broker.KafkaBroker())
        environment |= {"KAFKA_BROKERS": kafka.bootstrap, "KAFKA_TOPIC": "email-queue", "KAFKA_GROUP_ID": "demo"}
    mailbox = stack.enter_context(processes.Mailbox(directory / "mails", default_or_free(2525)))
    postbus = start_postbus(stack, directory, environment | mailbox.environment, options.kafka)
    print(f"postbus takes mails at {postbus.api}/v1/emails", flush=True)

    ids = []
    for mail in map(sample_mail, TEMPLATES):
        answer = processes.post(postbus.api, mail)
        if answer.status != 202:
            raise processes.ProcessError(f"POST /v1/emails: {answer.status} {answer.body.decode()}\n{postbus.tail()}")
        ids.append(answer.json["id"])
        print(f"  accepted: {mail['template']}, id {ids[-1]}", flush=True)
    try:
        wait_for_mails(mailbox, ids)
    except processes.ProcessError as error:
        raise processes.ProcessError(f"{error}; the end of {postbus.log}:\n{postbus.tail()}") from None

    print(f"\nAll {len(ids)} mails arrived, {time.time() - options.begin:.0f} s after ./demo began.\n")
    shown = pathlib.Path(os.path.relpath(directory))
    print(f"mails    {shown}/mails/*.eml (any mail program opens them)")
    print(f"log      {shown}/postbus.log")
    if options.once:
        return
    print(f"metrics  {postbus.admin}/metrics")
    print("\nSend one yourself:\n")
    print(f"  curl -i {postbus.api}/v1/emails -H 'Content-Type: application/json' \\")
    print(f"    -d {shlex.quote(json.dumps(sample_mail('welcome')))}\n\nCtrl-C ends it.", flush=True)
    seen = len(mailbox.entries())
    while postbus.is_running():
        for entry in mailbox.entries()[seen:]:
            seen += 1
            print(f"  arrived: {entry['subject']}\n           {entry['file']}", flush=True)
        time.sleep(0.2)
    raise processes.ProcessError(f"postbus ended with exit code {postbus.code}:\n{postbus.tail()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--begin", type=int, default=int(time.time()), help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--kafka", action="store_true")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with contextlib.ExitStack() as stack:
            demo(options, stack)
    except KeyboardInterrupt:
        print("\nended")
    except kafka_broker.KafkaError as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except processes.ProcessError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
