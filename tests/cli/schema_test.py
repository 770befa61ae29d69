"""postbus validate --schema: the schema and the loader judge the same configurations, and editors find it."""

import copy
import json
import os
import re
import unittest

import e2e
import yaml
from jsonschema import Draft202012Validator

PAGE = e2e.ROOT / "config" / "postbus.schema.json"
FILE = {"plugin": "file", "options": {"directory": "files"}}
VALID = {
    "version": 1,
    "queue": {"type": "sqlite"},
    "renderer": {"plugin": "ctemplate", "options": {"directory": "templates"}},
    "transports": {"primary": FILE},
}


def changed(path: str, value) -> dict:
    config = copy.deepcopy(VALID)
    *sections, key = path.split(".")
    node = config
    for section in sections:
        node = node.setdefault(section, {})
    node[key] = value
    return config


class Schema(e2e.TestCase):
    def setUp(self):
        super().setUp()
        done = self.run_postbus("validate", "--schema")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.text = done.stdout
        Draft202012Validator.check_schema(json.loads(self.text))
        self.schema = Draft202012Validator(json.loads(self.text))

    def loads(self, config: dict) -> bool:
        file = self.directory / "tried.yaml"
        file.write_text(yaml.safe_dump(config))
        return self.run_postbus("validate", "-c", file).returncode == 0

    def test_the_file_is_what_is_printed(self):
        if os.environ.get("POSTBUS_UPDATE_DOCS"):
            PAGE.write_text(self.text)
        self.assertEqual(PAGE.read_text(), self.text, "POSTBUS_UPDATE_DOCS=1 with this test writes it")

    def test_what_is_shipped_is_valid_and_names_the_schema(self):
        for file in sorted((e2e.ROOT / "config").glob("*.yaml")):
            text = file.read_text()
            self.assertTrue(text.startswith("# yaml-language-server: $schema=postbus.schema.json\n"), file.name)
            self.assertEqual([error.message for error in self.schema.iter_errors(yaml.safe_load(text))], [], file.name)

    def test_both_take_or_refuse(self):
        self.assertTrue(self.schema.is_valid(VALID))
        self.assertTrue(self.loads(VALID))
        good = {
            "host.threads": 2,
            "host.drain_timeout": "1h30m",
            "limits.max_event": "512KiB",
            "retry.backoff": ["30s", "${STEP:-10m}"],
            "retry.in_doubt": "dead_letter",
            "log.level": "debug",
            "recipients.allow": "*@example.com",
            "queue.kafka.librdkafka": {"security.protocol": "ssl"},
            "transports.primary.rate_limit": {"per_second": 0.5, "per_domain": {"*.example": {"per_second": 1}}},
            "transports.primary.options.sync": False,
            "routes": [{"match": {"tag": ["a", "b"]}, "split": {"primary": 1}}, {"use": "primary"}],
        }
        bad = {
            "versoin": 1,
            "version": 2,
            "host.thraeds": 2,
            "host.threads": 65,
            "host.drain_timeout": 30,
            "limits.max_event": "large",
            "retry.in_doubt": "drop",
            "log.level": "loud",
            "queue.type": "rabbit",
            "transports.primary.plugni": "x",
            "transports.primary.options.directroy": "x",
            "transports.primary.options.sync": "perhaps",
            "transports.primary.breaker.failures": "many",
            "renderer": {"plugin": "ctemplate"},
            "routes": [{"use": ["primary"], "wehn": {}}],
        }
        for judged, expected in ((good, True), (bad, False)):
            for path, value in judged.items():
                config = changed(path, value)
                self.assertEqual((self.schema.is_valid(config), self.loads(config)), (expected, expected), path)

    def test_each_key_of_the_schema_is_known_to_the_loader(self):
        def keys(node: dict, path: str):
            for name, child in node.get("properties", {}).items():
                yield from keys(child, f"{path}.{name}".lstrip("."))
            if isinstance(node.get("additionalProperties"), dict):
                yield from keys(node["additionalProperties"], f"{path}.primary")
            if "properties" not in node and "items" not in node:
                yield path

        paths = [path for path in keys(json.loads(self.text), "") if path != "queue.kafka.librdkafka.primary"]
        self.assertGreater(len(paths), 30)
        config = copy.deepcopy(VALID)
        for path in paths:
            *sections, key = path.split(".")
            node = config
            for section in sections:
                node = node.setdefault(section, {})
            node.setdefault(key, {"not": "a value"})
        file = self.directory / "all.yaml"
        file.write_text(yaml.safe_dump(config))
        done = self.run_postbus("validate", "-c", file)
        self.assertNotIn("unknown key", done.stderr)
        for path in ("host.threads", "transports.primary.breaker.failures", "limits.max_event"):
            self.assertIn(f"{path}: must be a single value", done.stderr)

    def test_the_page_says_how_an_editor_finds_it(self):
        page = (e2e.ROOT / "docs" / "editors.md").read_text()
        for line in re.findall(r"^postbus (validate --schema) > ", page, re.MULTILINE):
            self.assertEqual(self.run_postbus(*line.split()).stdout, self.text)
            break
        else:
            self.fail("no command")


if __name__ == "__main__":
    e2e.main()
