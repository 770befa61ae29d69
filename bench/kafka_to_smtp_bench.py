#!/usr/bin/env python3
"""How many mails a second does a host bring from a real Kafka to an SMTP server, beside Postfix's smtp-source?

    bench/kafka_to_smtp_bench.py [--build build/release] [--mails 100000] [--runs 3]

In turns, against the same smtp-sink on loopback: `smtp-source -d` (50 kept connections, no queue, no rendering) with a
fixed mail of 1 KiB, then with one as long as ours, and `postbus host` (Kafka consumer group, JSON, ctemplate text and
HTML, MIME, SMTP with 50 connections) on events in the seed's format that lie in Kafka before it starts. The host's rate
is measured between its first and its last accepted mail, as its metrics tell them; smtp-source's over its whole run. A
first run that does not count lets Kafka's JIT compiler finish. Rates compare only within one run.

Needs a release build, java and maven (for Kafka), kcat and the package postfix.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "support" / "kafka")]

from kafka_broker import KafkaBroker  # noqa: E402
from postbus_process import Postbus, SmtpSink  # noqa: E402

CONNECTIONS = 50


def smtp_source(port: int, mails: int, mail_bytes: int) -> float:
    begin = time.monotonic()
    subprocess.run(
        ["smtp-source", "-d", "-s", str(CONNECTIONS), "-m", str(mails), "-l", str(mail_bytes), f"127.0.0.1:{port}"],
        check=True,
    )
    return mails / (time.monotonic() - begin)


def event(number: int) -> str:
    return json.dumps(
        {
            "type": "password_reset",
            "message": {
                "id": str(uuid.UUID(int=number)),
                "from": "noreply@usualstore.com",
                "to": f"user{number}@example.com",
                "subject": "Password Reset Request",
                "template": "password-reset",
                "data": {"Link": f"https://usualstore.com/reset?token={number}"},
                "priority": "normal",
                "timestamp": "2025-12-25T20:00:00Z",
                "retry_count": 0,
                "max_retries": 3,
                "status": "pending",
            },
        }
    )


def accepted(admin: str) -> int:
    text = urllib.request.urlopen(admin + "/metrics").read().decode()
    return int(sum(float(n) for n in re.findall(r'emails_outcome_total\{outcome="accepted".*\} (\S+)', text)))


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def postbus(build: pathlib.Path, bootstrap: str, port: int, mails: int, directory: pathlib.Path, run: str):
    """Mails a second, CPU seconds a mail, resident megabytes."""
    topic = f"bench{run}-queue"
    environment = {
        "KAFKA_BROKERS": bootstrap,
        "KAFKA_TOPIC": topic,
        "KAFKA_GROUP_ID": f"bench{run}",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_TLS": "none",
    }
    config = ROOT / "config" / "postbus.yaml"
    settings = {
        "state_dir": str(directory / f"state{run}"),
        "transports.primary.options.max_connections": str(CONNECTIONS),
    }
    program = Postbus(build, config, log=directory / f"log{run}", role="host", settings=settings, environment=environment)
    subprocess.run(
        [str(build / "bin" / "postbus"), "topics", "create", "-c", str(config)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=program._environment,
    )
    kcat = subprocess.Popen(["kcat", "-P", "-b", bootstrap, "-t", topic, "-X", "linger.ms=20"], stdin=subprocess.PIPE, text=True)
    for number in range(mails):
        kcat.stdin.write(event(number) + "\n")
    kcat.stdin.close()
    if kcat.wait() != 0:
        raise SystemExit("kcat could not produce the events")
    with program:
        deadline = time.monotonic() + 60 + mails / 500
        begin = first = cpu = None
        while True:
            now, count = time.monotonic(), accepted(program.admin)
            if count > 0 and begin is None:
                begin, first, cpu = now, count, cpu_seconds(program.pid)
            if count >= mails:
                break
            if now > deadline:
                raise SystemExit(f"{count} of {mails} mails after {deadline:.0f} s; log: {program.log}")
            time.sleep(0.1)
        used = cpu_seconds(program.pid) - cpu
        status = pathlib.Path(f"/proc/{program.pid}/status").read_text()
        megabytes = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
        rate = (count - first) / max(now - begin, 0.1)
        program.stop()
    return rate, used / max(count - first, 1), megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--mails", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    ratios = {"1 KiB": [], "same size": []}
    with tempfile.TemporaryDirectory() as name, KafkaBroker() as kafka:
        directory = pathlib.Path(name)

        def run_postbus(run: str, sink: SmtpSink, mails: int):
            return postbus(arguments.build, kafka.bootstrap, sink.port, mails, directory, run)

        with SmtpSink(directory / "mails") as sink:
            run_postbus("-size", sink, 1)
            [mail] = (directory / "mails").iterdir()
            mail_bytes = mail.stat().st_size
        with SmtpSink() as sink:
            run_postbus("-warm-up", sink, arguments.mails)
        for run in range(1, arguments.runs + 1):
            with SmtpSink() as sink:
                small = smtp_source(sink.port, arguments.mails, 1024)
                same = smtp_source(sink.port, arguments.mails, mail_bytes)
                rate, cpu, megabytes = run_postbus(str(run), sink, arguments.mails)
            ratios["1 KiB"].append(rate / small)
            ratios["same size"].append(rate / same)
            print(
                f"run {run}: smtp-source {small:.0f}/s with 1 KiB, {same:.0f}/s with {mail_bytes} bytes;"
                f" postbus from Kafka {rate:.0f}/s ({cpu * 1e6:.1f} us CPU a mail, {megabytes:.0f} MB);"
                f" ratio {rate / small:.2f}, {rate / same:.2f}",
                flush=True,
            )
    medians = ", ".join(f"{statistics.median(values):.2f} ({size})" for size, values in ratios.items())
    print(f"ratio, median of {arguments.runs}: {medians}")


if __name__ == "__main__":
    main()
