"""The variables of docs/environment.md, each on the shipped configuration, and what the page says of them."""

import re

import e2e
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from postbus_process import Mailbox, post, wait_until

CONFIG = e2e.ROOT / "config" / "postbus.yaml"
PAGE = (e2e.ROOT / "docs" / "environment.md").read_text()
TABLE = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]+)`? \|", PAGE, re.MULTILINE))
NOTICE = {"to": f"ada@{e2e.DOMAIN}", "template": "welcome", "data": {"Name": "Ada", "Link": "https://usualstore.com/"}}
EXIT_CONFIG = 78

# Of the machine the tests run on nothing shall count.
UNSET = {name: "" for name in TABLE}


class AuthServer:
    """An SMTP server that takes mails after AUTH alone, and keeps what it was told."""

    def __init__(self):
        self.logins = []
        self.mails = 0
        self._controller = Controller(
            self, hostname="127.0.0.1", port=e2e.free_port(), authenticator=self._authenticate, auth_required=True,
            auth_require_tls=False,
        )  # fmt: skip

    def __enter__(self) -> "AuthServer":
        self._controller.start()
        return self

    def __exit__(self, *_) -> None:
        self._controller.stop()

    @property
    def environment(self) -> dict:
        return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(self._controller.port)}

    def _authenticate(self, _server, _session, _envelope, _mechanism, data) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=True)

    async def handle_DATA(self, *_) -> str:
        self.mails += 1
        return "250 taken"


class Environment(e2e.TestCase):
    def serve(self, config=CONFIG, **environment: str):
        postbus = self.postbus(
            config, settings={"state_dir": self.directory / "state"}, environment={**UNSET, **environment}
        )
        postbus.start()
        return postbus

    def banner(self, postbus, message: str) -> str:
        return next(line for line in postbus.output().splitlines() if f'"{message}"' in line or f" {message} " in line)


class Page(Environment):
    def test_lists_what_the_shipped_configuration_has(self):
        lines = [line for line in CONFIG.read_text().splitlines() if not line.startswith("#")]
        in_config = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", "\n".join(lines)))
        self.assertEqual(set(TABLE), set(in_config) | {"KAFKA_ENABLED"})
        for name, default in in_config.items():
            self.assertEqual(TABLE[name].strip(), default or "none", name)


class OnSqlite(Environment):
    SQLITE = e2e.ROOT / "config" / "single-node.yaml"

    def serve_sqlite(self, **environment: str):
        return self.postbus(
            self.SQLITE, environment={**UNSET, **environment},
            settings={"state_dir": self.directory / "state", "queue.sqlite.path": self.directory / "postbus.db"},
        )  # fmt: skip

    def test_smtp_user_and_password(self):
        server = self.enterContext(AuthServer())
        postbus = self.serve_sqlite(**server.environment, SMTP_TLS="none", SMTP_USER="shop", SMTP_PASSWORD=e2e.SECRET)
        postbus.start()
        self.assertEqual(post(postbus.api, NOTICE).status, 202)
        wait_until(lambda: server.mails == 1, e2e.PATIENCE_SECONDS, "the mail")
        self.assertEqual(set(server.logins), {("shop", e2e.SECRET)})
        self.assertEqual(postbus.stop(), 0)

    def test_smtp_host_port_and_tls(self):
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        postbus = self.serve_sqlite(**{**mailbox.environment, "SMTP_TLS": "starttls"})
        postbus.start()
        self.assertEqual(post(postbus.api, NOTICE).status, 202)
        postbus.wait_for_log("offers no STARTTLS", e2e.PATIENCE_SECONDS)
        self.assertEqual(mailbox.entries(), [])
        postbus.kill()

        postbus = self.serve_sqlite(**{**mailbox.environment, "SMTP_TLS": "none"})
        postbus.start()
        wait_until(mailbox.entries, e2e.PATIENCE_SECONDS, "the mail")
        self.assertEqual(postbus.stop(), 0)

    def test_kafka_enabled_false_and_nonsense(self):
        for value, message in (("false", "KAFKA_ENABLED=false, but queue.type is kafka"), ("1", "must be true or false")):
            env = {**UNSET, "PATH": "/usr/bin", "KAFKA_ENABLED": value}
            state = f"state_dir={self.directory / 'state'}"
            done = self.run_postbus("host", "-c", CONFIG, "--set", state, env=env)
            self.assertEqual(done.returncode, EXIT_CONFIG, done.stderr)
            self.assertIn(message, done.stderr)

        postbus = self.serve_sqlite(KAFKA_ENABLED="false")
        postbus.start()
        self.assertRegex(self.banner(postbus, "queue"), r'sqlite.*KAFKA_ENABLED"?[=:]"?false')
        self.assertEqual(postbus.stop(), 0)


class OnKafka(Environment):
    def test_kafka_brokers_topic_group_and_enabled(self):
        kafka = e2e.Kafka()
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        environment = {
            **mailbox.environment,
            "KAFKA_BROKERS": kafka.bootstrap,
            "KAFKA_TOPIC": kafka.topic,
            "KAFKA_GROUP_ID": f"{kafka.prefix}-group",
        }
        postbus = self.serve(**environment)
        expected = f"kafka {kafka.bootstrap} topic {kafka.topic} group {kafka.prefix}-group"
        self.assertIn(expected, self.banner(postbus, "queue"))
        self.assertRegex(self.banner(postbus, "queue"), 'KAFKA_ENABLED"?[=:]"?unset')
        self.assertEqual(post(postbus.api, NOTICE).status, 202)
        wait_until(mailbox.entries, e2e.PATIENCE_SECONDS, "the mail")
        self.assertEqual(postbus.stop(), 0)

        # Kafka for a configuration that says SQLite: its keys under queue.kafka count.
        text = CONFIG.read_text().replace("type: kafka", "type: sqlite").replace("../", f"{e2e.ROOT}/")
        config = self.directory / "sqlite.yaml"
        config.write_text(text)
        postbus = self.serve(config, KAFKA_ENABLED="true", **environment)
        self.assertIn(expected, self.banner(postbus, "queue"))
        self.assertRegex(self.banner(postbus, "queue"), 'KAFKA_ENABLED"?[=:]"?true')
        self.assertEqual(postbus.stop(), 0)


if __name__ == "__main__":
    e2e.main()
