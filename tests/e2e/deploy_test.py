"""deploy/: nobody runs containers here, so the files are held against the compose schema, the programs and each other."""

import json
import re
import shutil
import subprocess
import unittest

import jsonschema
import yaml

import e2e

COMPOSE = e2e.ROOT / "deploy" / "compose.yaml"
TABLE = set(re.findall(r"^\| `([A-Z_]+)` \|", (e2e.ROOT / "docs" / "environment.md").read_text(), re.MULTILINE))
OURS = ("messaging-service", "api")
PREFIX = "/opt/postbus/"


class Schema(e2e.TestCase):
    """The Compose Specification's own, which knows more than the one of Debian's docker-compose."""

    def setUp(self):
        super().setUp()
        schema = json.loads((e2e.ROOT / "tests" / "support" / "compose" / "compose-spec.json").read_text())
        jsonschema.Draft7Validator.check_schema(schema)
        self.validator = jsonschema.Draft7Validator(schema)
        self.file = yaml.safe_load(COMPOSE.read_text())

    def problems(self) -> list[str]:
        return [f"{error.json_path}: {error.message}" for error in self.validator.iter_errors(self.file)]

    def test_the_file_keeps_it(self):
        self.assertEqual(self.problems(), [])

    def test_ours_are_started_again_when_they_crash(self):
        self.assertEqual({self.file["services"][service]["restart"] for service in OURS}, {"on-failure"})

    def test_it_would_find_a_mistake(self):
        self.file["services"]["kafka"]["helthcheck"] = {}
        self.file["services"]["api"]["restart"] = 7
        self.assertEqual(len(self.problems()), 2, self.problems())


class Compose(e2e.TestCase):
    @classmethod
    def setUpClass(cls):
        program = shutil.which("docker-compose")
        if not program:
            raise unittest.SkipTest("docker-compose is not there; it is a Debian package of that name")
        # Debian's checks the file against the schema it comes with, then prints it with all short forms written out.
        done = subprocess.run([program, "-f", COMPOSE, "config"], capture_output=True, text=True, timeout=e2e.PATIENCE_SECONDS)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        cls.services = yaml.safe_load(done.stdout)["services"]
        cls.back_end = "".join(file.read_text() for file in sorted((e2e.ROOT / "examples" / "go").rglob("*.go")))

    def ports(self, service: str) -> dict:
        """Inside -> outside; each is published on loopback alone."""
        found = {}
        for port in self.services[service].get("ports", []):
            address, outside, inside = port.removesuffix("/tcp").split(":")
            self.assertEqual(address, "127.0.0.1", service)
            found[int(inside)] = int(outside)
        return found

    def test_the_services_of_the_seed_are_there(self):
        self.assertEqual(
            set(self.services), {"kafka", "kafka-ui", "mailpit", "messaging-service", "api", "back-end"}
        )
        self.assertEqual(list(self.ports("kafka-ui").values()), [8090])

    def test_our_services_get_variables_that_exist(self):
        for service in OURS:
            self.assertEqual(set(self.services[service]["environment"]) - TABLE, set(), service)
        for name in self.services["back-end"]["environment"]:
            self.assertIn(f'"{name}"', self.back_end, "the Go example does not read it")

    def test_kafka_is_where_the_others_look_for_it(self):
        kafka = self.services["kafka"]["environment"]
        inside, outside = (
            re.search(rf"{name}://([a-z]+:\d+)", kafka["KAFKA_ADVERTISED_LISTENERS"])[1] for name in ("INTERNAL", "EXTERNAL")
        )
        self.assertEqual(self.services["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"], inside)
        for service in ("messaging-service", "back-end"):
            self.assertEqual(self.services[service]["environment"]["KAFKA_BROKERS"], inside, service)
        self.assertEqual(self.services["api"]["environment"]["KAFKA_BROKERS"], outside)
        self.assertEqual(self.ports("kafka"), {9093: int(outside.split(":")[1])})
        topics = {self.services[service]["environment"]["KAFKA_TOPIC"] for service in (*OURS, "back-end")}
        self.assertEqual(len(topics), 1, "they would not meet")

    def test_mailpit_is_where_the_others_look_for_it(self):
        for service in ("messaging-service", "back-end"):
            environment = self.services[service]["environment"]
            self.assertEqual((environment["SMTP_HOST"], str(environment["SMTP_PORT"])), ("mailpit", "1025"))

    def test_the_back_end_listens_where_its_port_is(self):
        default = re.search(r'environment\("LISTEN", ":(\d+)"\)', self.back_end)[1]
        self.assertEqual(list(self.ports("back-end")), [int(default)])

    def test_files_and_paths_exist(self):
        for service in ("messaging-service", "back-end"):
            build = self.services[service]["build"]
            context = (COMPOSE.parent / build["context"]).resolve()
            dockerfile = (context / build["dockerfile"]).resolve()
            for source in re.findall(r"^COPY (?!--from)(\S+)", dockerfile.read_text(), re.MULTILINE):
                self.assertTrue((context / source).exists(), f"{dockerfile}: COPY {source}")
        for name in self.services:
            self.assertEqual(set(self.services[name].get("depends_on", {})) - set(self.services), set())

    def test_our_commands_start(self):
        """As far as `validate` sees; the image has what `cmake --install` makes in /opt/postbus."""
        text = (e2e.ROOT / "deploy" / "Dockerfile").read_text()
        default = json.loads(re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)[1])
        entry = json.loads(re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)[1])
        self.assertEqual(entry, [f"{PREFIX}bin/postbus"])
        self.assertIn(f"--prefix {PREFIX.rstrip('/')}", text)
        for service in OURS:
            role, *arguments = self.services[service].get("command", default)
            self.assertIn(role, ("host", "api"))
            arguments = [word.replace(f"{PREFIX}share/postbus/", f"{e2e.ROOT}/") for word in arguments]
            environment = {name: str(value) for name, value in self.services[service]["environment"].items()}
            done = self.run_postbus("validate", *arguments, env={"PATH": "/usr/bin", **environment})
            self.assertEqual(done.returncode, 0, done.stderr)


class Dockerfile(e2e.TestCase):
    def test_the_image_has_the_libraries_that_postbus_needs(self):
        text = (e2e.ROOT / "deploy" / "Dockerfile").read_text()
        listed = set(re.findall(r"\blib[a-z0-9.+-]+", text.rsplit("FROM", 1)[1].split("&& rm")[0]))
        files = [e2e.POSTBUS, *(e2e.BUILD / "plugins").glob("*.so"), *(e2e.BUILD / "lib").glob("libpostbus-*.so")]
        needed = subprocess.run(["readelf", "-d", *files], capture_output=True, text=True, check=True).stdout
        names = sorted(set(re.findall(r"\(NEEDED\).*\[(.*)\]", needed)))
        names = [name for name in names if not name.startswith(("libpostbus", "libasan", "libubsan", "libtsan", "ld-"))]
        packages = set()
        for name in names:
            found = subprocess.run(["dpkg", "-S", f"*-linux-gnu/{name}"], capture_output=True, text=True)
            if found.returncode != 0:
                raise unittest.SkipTest(f"{name} is of no Debian package here")
            packages.add(found.stdout.split(":", 1)[0])
        always = {"libc6", "libgcc-s1", "libstdc++6"}  # libstdc++6 comes with those that are written in C++
        self.assertEqual(packages - always - listed, set(), "missing in deploy/Dockerfile")


if __name__ == "__main__":
    e2e.main()
