#!/usr/bin/env python3
"""Do mails of other transports go more slowly while one never answers, or answers each mail twice?

    bench/bad_transport_bench.py [--build build/release] [--bad-plugins build/dev/tests/bad_plugins] [--mails 40000] [--runs 3]

In turns: `postbus host` on a SQLite queue filled before it starts, in which every tenth mail goes by another transport than
the rest. That is `null`, which takes all (the measure), then a plugin that never answers, then one that answers twice. The
rate is that of the other mails, by SMTP to smtp-sink on loopback, between a tenth of them and all; the host's CPU time for
each of them is less of a matter of luck where the machine has other work. Both compare only within one run.

Needs a release build, an everyday build (for the bad plugins) and the package postfix.
"""

import argparse
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from postbus_process import Client, Postbus, SmtpSink, get  # noqa: E402

BATCH = 500
BAD_EVERY = 10
SECONDS = 600

CONFIG = """\
version: 1
queue: {{ type: sqlite, sqlite: {{ path: postbus.db }} }}
state_dir: state
defaults: {{ from: "Usual Store <noreply@usualstore.com>" }}
renderer: {{ plugin: ctemplate, options: {{ directory: "{root}/templates" }} }}
transports:
  other: {{ plugin: "{plugin}" }}
  good: {{ plugin: smtp, options: {{ host: 127.0.0.1, port: {port}, tls: none }} }}
routes: [ {{ match: {{ tag: other }}, use: [other] }}, {{ use: [good] }} ]
"""


def mail(number: int) -> dict:
    fields = {"id": str(uuid.UUID(int=number)), "to": f"user{number}@example.com", "template": "password-reset",
              "data": {"Link": f"https://usualstore.com/reset?token={number}"}}  # fmt: skip
    return {**fields, "tags": ["other"]} if number % BAD_EVERY == 0 else fields


def sent_by_good(admin: str) -> int:
    text = get(admin, "/metrics").body.decode()
    return int(sum(float(n) for n in re.findall(r'emails_outcome_total\{outcome="accepted".*transport="good"\} (\S+)', text)))


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(build: pathlib.Path, plugin: str, mails: int, directory: pathlib.Path) -> tuple[float, float]:
    """Of the others: mails a second, microseconds of CPU a mail."""
    with SmtpSink() as sink:
        config = directory / "postbus.yaml"
        config.write_text(CONFIG.format(root=ROOT, plugin=plugin, port=sink.port))
        log = directory / "log"
        with Postbus(build, config, log=log, role="api") as api, Client(api.api, timeout=SECONDS) as client:
            for begin in range(0, mails, BATCH):
                answer = client.post([mail(number) for number in range(begin, begin + BATCH)], "/v1/emails/batch")
                if answer.status != 202:
                    raise SystemExit(f"the API answers {answer.status}: {answer.body.decode()}")
            api.stop()
        expected = mails - mails // BAD_EVERY
        with Postbus(build, config, log=log, role="host") as host:
            deadline = time.monotonic() + SECONDS
            start = None
            while (sent := sent_by_good(host.admin)) < expected:
                if start is None and sent >= expected // 10:
                    start = time.monotonic(), sent, cpu_seconds(host.pid)
                if time.monotonic() > deadline or not host.is_running():
                    raise SystemExit(f"{sent} of {expected} mails:\n{host.tail()}")
                time.sleep(0.02)
            count = sent - start[1]
            return count / (time.monotonic() - start[0]), (cpu_seconds(host.pid) - start[2]) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--bad-plugins", type=pathlib.Path, default=ROOT / "build" / "dev" / "tests" / "bad_plugins")
    parser.add_argument("--mails", type=int, default=40_000, help=f"a multiple of {BATCH}")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    plugins = {
        "takes all": "null",
        "never answers": str(arguments.bad_plugins.resolve() / "never_completes.so"),
        "answers twice": str(arguments.bad_plugins.resolve() / "completes_twice.so"),
    }
    ratios = {what: ([], []) for what in plugins}  # of rates, of CPU
    for run in range(1, arguments.runs + 1):
        told = []
        for what, plugin in plugins.items():
            with tempfile.TemporaryDirectory() as directory:
                values = measure(arguments.build, plugin, arguments.mails, pathlib.Path(directory))
            if plugin == "null":
                usual = values
            for ratio, value, of in zip(ratios[what], values, usual):
                ratio.append(value / of)
            told.append(f"{what} {values[0]:.0f}/s ({ratios[what][0][-1]:.2f}), {values[1]:.0f} us ({ratios[what][1][-1]:.2f})")
        print(f"run {run}: " + "; ".join(told), flush=True)
    for what, (rate, cpu) in ratios.items():
        print(f"{what}: rate {statistics.median(rate):.2f}, CPU a mail {statistics.median(cpu):.2f} (median of {arguments.runs})")


if __name__ == "__main__":
    main()
