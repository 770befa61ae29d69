"""docs/upgrading.md: a queue file of before is brought to the present format with a backup, and the way back is as it says."""

import os
import shutil
import sqlite3

import e2e
from postbus_process import post, wait_until

NO_SERVER = {"SMTP_PORT": "1"}  # who only takes mails needs none
FORMAT_2 = ("state", "high", "normal", "low", "deferred", "dead_letters", "status", "requests")
PAGE = (e2e.ROOT / "docs" / "upgrading.md").read_text()


def version_of(path) -> str:
    with sqlite3.connect(path) as file:
        number = file.execute("PRAGMA user_version").fetchone()[0]
    return f"{number // 100}.{number % 100}"


class SqliteFile(e2e.TestCase):
    def setUp(self):
        super().setUp()
        self.config = self.write_config(self.queue_sqlite())
        self.file = self.directory / "postbus.db"
        self.backup = self.directory / "postbus.db.v0.2.bak"

    def post_one(self, api, name: str) -> str:
        answer = post(api.api, {"to": f"{name}@{e2e.DOMAIN}", "template": "notice"})
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json["id"]

    def host_sends(self, ids: set[str]) -> None:
        with self.sink() as sink:
            host = self.postbus(self.config, role="host", environment=sink.environment)
            host.start()
            wait_until(lambda: host.metric("postbus_queue_waiting") + host.metric("postbus_email_inflight") == 0, 60, "an empty queue")
            self.assertEqual(host.stop(), 0)
            self.assert_each_once(sink.ids(), ids)

    def test_a_file_of_before_is_migrated_and_can_be_gone_back_to(self):
        with self.postbus(self.config, role="api", environment=NO_SERVER) as api:
            before = self.post_one(api, "before")
            self.assertEqual(api.stop(), 0)
        file = sqlite3.connect(self.file, isolation_level=None)
        for (table,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall():
            if table not in FORMAT_2:
                file.execute(f"DROP TABLE {table}")
        file.execute("DROP INDEX deferred_id")
        file.execute("PRAGMA user_version=2")
        file.close()

        with self.postbus(self.config, role="api", environment=NO_SERVER) as api:
            self.post_one(api, "after")
            self.assertEqual(api.stop(), 0)
        self.assertIn(self.backup.name, PAGE)
        self.assertEqual(version_of(self.backup), "0.2")
        self.assertNotEqual(version_of(self.file), "0.2")

        away = self.directory / "away"
        away.mkdir()
        for suffix in ("", "-wal", "-shm"):
            if (path := self.file.with_name(self.file.name + suffix)).exists():
                path.rename(away / path.name)
        shutil.copy(self.backup, self.file)
        self.host_sends({before})

    def test_a_newer_one_is_refused_with_what_to_do(self):
        with self.postbus(self.config, role="api", environment=NO_SERVER) as api:
            self.assertEqual(api.stop(), 0)
        file = sqlite3.connect(self.file, isolation_level=None)
        file.execute("PRAGMA user_version=100")
        file.close()
        for command in ("host", "api"):
            done = self.run_postbus(command, "-c", self.config, env={**os.environ, **NO_SERVER})
            self.assertEqual(done.returncode, 78, done.stderr)
            self.assertIn("has format 1.0, this postbus knows 0.", done.stderr)
            self.assertIn("docs/upgrading.md", done.stderr)
        self.assertEqual(version_of(self.file), "1.0")


if __name__ == "__main__":
    e2e.main()
