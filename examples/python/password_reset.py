#!/usr/bin/python3
"""Puts a mail into Kafka and waits until Kafka has it: password_reset.py ADDRESS LINK

KAFKA_BROKERS and KAFKA_TOPIC say where to. Needs confluent-kafka: Debian's python3-confluent-kafka, or pip.
"""

import datetime
import json
import os
import sys
import uuid

from confluent_kafka import Producer


def email_event(to: str, link: str) -> dict:
    return {
        "type": "password_reset",
        "message": {
            "id": str(uuid.uuid4()),
            "from": "noreply@usualstore.com",
            "to": to,
            "subject": "Password Reset Request",
            "template": "password-reset",
            "data": {"Link": link},
            "priority": "high",
            "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "max_retries": 3,
        },
    }


def main() -> int:
    if len(sys.argv) != 3:
        print(f"usage: {sys.argv[0]} ADDRESS LINK", file=sys.stderr)
        return 64
    producer = Producer({
        "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "localhost:9093"),
        "enable.idempotence": True,  # with acks=all: kept on all in-sync replicas, once
        "partitioner": "murmur2_random",  # the one of Java and of postbus
    })  # fmt: skip
    event = email_event(*sys.argv[1:])
    failures = []
    producer.produce(
        os.environ.get("KAFKA_TOPIC", "email-queue"),
        key=event["message"]["id"],
        value=json.dumps(event),
        on_delivery=lambda error, _: failures.append(error) if error else None,
    )
    if producer.flush(30) or failures:
        print(f"Kafka does not have the mail: {failures or 'no answer'}", file=sys.stderr)
        return 69
    print(event["message"]["id"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
