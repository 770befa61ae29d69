"""`cmake --install`, and what services build on it; plugins: write_plugin_test.py."""

import os
import pathlib
import subprocess
import tempfile

import e2e
from postbus_process import Mailbox, wait_until

EXAMPLE = e2e.ROOT / "examples" / "cpp"
LINK = f"https://usualstore.com/reset?token={e2e.SECRET}"


def run(*command, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=500, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class InstalledTestCase(e2e.TestCase):
    """Installs once for all tests of a class, to a directory that no build has seen."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="postbus-install-")
        cls.addClassCleanup(temporary.cleanup)
        cls.work = pathlib.Path(temporary.name)
        cls.prefix = cls.work / "prefix"
        run("cmake", "--install", e2e.BUILD, "--prefix", cls.prefix)

    @classmethod
    def build(cls, source: pathlib.Path, *options: str) -> pathlib.Path:
        build = cls.work / source.name
        run("cmake", "-S", source, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={cls.prefix}", *options)
        run("cmake", "--build", build)
        return build


class Installed(InstalledTestCase):
    def test_each_thing_has_its_place(self):
        names = {str(path.relative_to(self.prefix)) for path in self.prefix.rglob("*") if not path.is_dir()}
        expected = {
            "bin/postbus",
            "include/postbus/abi.h",
            "include/postbus/abi/transport.h",
            "include/postbus/plugin.hpp",
            "include/postbus/producer.h",
            "include/postbus/direct.h",
            "lib/libpostbus-producer.so",
            "lib/libpostbus-direct.so",
            "lib/cmake/postbus/postbusConfig.cmake",
            "lib/cmake/postbus-sdk/postbus-sdkConfig.cmake",
            "lib/libpostbus-sdk-http.a",
            "lib/pkgconfig/postbus-sdk.pc",
            "share/postbus/config/postbus.yaml",
            "share/postbus/templates/welcome/html.tpl",
        }
        for plugin in (e2e.BUILD / "plugins").glob("*.so"):
            expected.add(f"lib/postbus/plugins/{plugin.name}")
        self.assertEqual(expected - names, set())
        strangers = {name for name in names if name.split("/")[0] not in ("bin", "include", "lib", "share")}
        self.assertEqual(strangers, set())
        for name in names:  # nothing of the libraries we stand on, nothing of the inside
            self.assertFalse(name.startswith("include/") and not name.startswith("include/postbus/"), name)

    def test_the_libraries_define_nothing_of_the_inside(self):
        """Or a service that uses the same library in another version would get ours."""
        for name in ("producer", "direct"):
            symbols = run("nm", "-DC", "--defined-only", self.prefix / "lib" / f"libpostbus-{name}.so").stdout.splitlines()
            strong = [line.split(" T ", 1)[1] for line in symbols if " T " in line]
            self.assertTrue(strong)
            for symbol in strong:
                self.assertRegex(symbol, r"^(non-virtual thunk to )?postbus::(Sender|Producer|RecordingProducer|TemplateData|MemoryQueue|Open)")

    def test_postbus_runs_where_it_is_installed(self):
        config = self.prefix / "share" / "postbus" / "config" / "minimal.yaml"
        valid = run(self.prefix / "bin" / "postbus", "validate", "-c", config)
        self.assertIn("valid; 3 templates, 1 transport\n", valid.stdout)

    def test_a_service_of_others(self):
        build = self.build(e2e.ROOT / "tests" / "install")
        self.assertEqual(run(build / "service_test").stdout, "right\n")


class Examples(InstalledTestCase):
    """examples/cpp, built against the installed package."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.programs = cls.build(EXAMPLE)

    def arrived(self, mailbox: Mailbox, id: str) -> None:
        self.assertRegex(id, r"^[0-9a-f-]{36}$")
        [entry] = wait_until(mailbox.entries, e2e.PATIENCE_SECONDS, f"the mail {id}")
        self.assertEqual(entry["message_id"], f"<{id}@usualstore.com>")
        self.assertEqual(entry["rcpt_tos"], [f"ada@{e2e.DOMAIN}"])
        self.assertIn(LINK, pathlib.Path(entry["file"]).read_text().replace("=\r\n", "").replace("=3D", "="))

    def send(self, program: str, *arguments, **environment) -> str:
        to = f"ada@{e2e.DOMAIN}"
        done = run(self.programs / program, *arguments, to, LINK, env={**os.environ, **environment})
        with open(self.log, "a") as log:  # what it says is looked through as all logs are
            log.write(done.stderr)
        return done.stdout.strip()


class Direct(Examples):
    def test_without_a_queue(self):
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        config = self.write_config('{ type: kafka, kafka: { brokers: "127.0.0.1:1" } }')
        environment = {**mailbox.environment, "KAFKA_ENABLED": "false"}
        id = self.send("password_reset_either_way", config, **environment)
        self.assertEqual(len(mailbox.entries()), 1, "it ended before the mail was sent")
        self.arrived(mailbox, id)
        self.assertIn("KAFKA_ENABLED", self.log.read_text())


class OnKafka(e2e.OnKafka, Examples):
    def host(self, mailbox: Mailbox) -> pathlib.Path:
        config = self.write_config(self.queue())
        self.postbus(config, role="host", environment=mailbox.environment).start()
        return config

    def test_password_reset(self):
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        self.host(mailbox)
        id = self.send("password_reset", KAFKA_BROKERS=self.kafka.bootstrap, KAFKA_TOPIC=self.kafka.topic)
        self.arrived(mailbox, id)

    def test_password_reset_either_way(self):
        mailbox = self.enterContext(Mailbox(self.directory / "mails"))
        config = self.host(mailbox)
        id = self.send("password_reset_either_way", config, KAFKA_ENABLED="true", **mailbox.environment)
        self.arrived(mailbox, id)


if __name__ == "__main__":
    e2e.main()
