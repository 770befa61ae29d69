"""A stranger writes a plugin: from the installed package alone, in a directory that knows nothing of this tree."""

import http.server
import os
import pathlib
import re
import shutil
import threading

import e2e
from install_test import InstalledTestCase, run
from postbus_process import Postbus, post, wait_until

TEMPLATES = e2e.ROOT / "sdk" / "template"
SOURCES = (TEMPLATES / "transport.c", TEMPLATES / "transport.cc", e2e.ROOT / "tests" / "sdk" / "plugins" / "acme.cc")


class Package(InstalledTestCase):
    """find_package(postbus-sdk) and pkg-config."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.project = cls.work / "outside"
        shutil.copytree(e2e.ROOT / "tests" / "install" / "plugins", cls.project)
        for source in SOURCES:
            shutil.copy(source, cls.project)

    def check_loads(self, plugin: pathlib.Path, **options):
        written = ", ".join(f"{name}: {value}" for name, value in options.items())
        config = self.write_config(self.queue_sqlite(), f'{{ plugin: "{plugin}", options: {{ {written} }} }}')
        run(self.prefix / "bin" / "postbus", "validate", "-c", config)
        symbols = run("nm", "-D", "--defined-only", "--format=just-symbols", plugin).stdout.split()
        self.assertEqual(symbols, ["postbus_plugin_entry"], "it exports its entry alone")

    def test_cmake(self):
        build = self.work / "build"
        run("cmake", "-S", self.project, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run("cmake", "--build", build)
        self.check_loads(build / "plugins" / "minimal.so")
        self.check_loads(build / "plugins" / "acme.so", token="x")
        self.check_loads(build / "plugins" / "acme-http.so", token="x")

    def test_pkg_config(self):
        for compiler, source, package, options in (
            ("cc -std=c11", "transport.c", "postbus-sdk", {}),
            ("c++ -std=c++20", "acme.cc", "postbus-sdk", {"token": "x"}),
            ("c++ -std=c++20", "transport.cc", "postbus-sdk-http", {"token": "x"}),
        ):
            with self.subTest(source):
                plugin = self.work / f"{source}.so"
                run("sh", "-ec", f"{compiler} {source} -o {plugin} $(pkg-config --cflags --libs {package})",
                    cwd=self.project, env={"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": f"{self.prefix}/lib/pkgconfig"})  # fmt: skip
                self.check_loads(plugin, **options)

    def test_nothing_of_the_package_names_this_tree(self):
        for folder in ("lib/cmake", "lib/pkgconfig"):
            for file in (self.prefix / folder).rglob("*.*"):
                if file.is_file():
                    self.assertNotIn(str(e2e.ROOT), file.read_text(), file)


class FakeAcme(http.server.BaseHTTPRequestHandler):
    """The provider: keeps what it gets."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.mails.append((self.path, self.headers.get_all("X-Acme-To"), body.decode()))
        self.send_response(202)
        self.send_header("X-Acme-Id", "acme-1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Stranger(InstalledTestCase):
    """docs/write-a-transport.md, line by line, and a mail by what comes of it."""

    def setUp(self):
        super().setUp()
        text = (e2e.ROOT / "docs" / "write-a-transport.md").read_text()
        self.blocks = re.findall(r"<!-- run by [^\n]*-->\n```sh\n(.*?)```", text, re.DOTALL)
        self.environment = {**os.environ, "PATH": f"{self.prefix / 'bin'}:{os.environ['PATH']}",
                            "CMAKE_PREFIX_PATH": str(self.prefix)}  # fmt: skip

    def run_block(self, block: str, directory: pathlib.Path) -> str:
        self.assertIn(block, self.blocks)
        return run("bash", "-euc", block, cwd=directory, env=self.environment).stdout

    def check_passed(self, output: str):
        lines = [line for line in output.splitlines() if re.match(r"(ok|FAIL|skipped) ", line)]
        self.assertGreater(len(lines), 10)
        self.assertEqual([line for line in lines if not line.startswith("ok ")], [])

    def test_from_nothing_to_a_mail_at_the_provider(self):
        self.assertEqual(len(self.blocks), 4)
        make, load, _, _ = self.blocks
        self.check_passed(self.run_block(make, self.directory))
        project = self.directory / "acme"
        self.assertLess(len((project / "acme.cc").read_text().splitlines()), 100)
        shutil.rmtree(project / "templates", ignore_errors=True)
        self.assertIn("valid", self.run_block(load, project))

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeAcme)
        server.mails = []
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = project / "postbus.yaml"
        config.write_text(config.read_text().replace("8025", str(server.server_port)))
        postbus = Postbus(self.prefix, config, log=self.log)
        self.addCleanup(postbus.kill)
        postbus.start()
        answer = post(postbus.api, {"to": f"ada@{e2e.DOMAIN}", "subject": "Hello", "text": "Hello, Ada\n"})
        self.assertEqual(answer.status, 202)
        wait_until(lambda: server.mails, e2e.PATIENCE_SECONDS, "the mail at the provider")
        path, recipients, mail = server.mails[0]
        self.assertEqual((path, recipients), ("/v1/messages", [f"ada@{e2e.DOMAIN}"]))
        self.assertIn("Hello, Ada", mail)
        postbus.wait_for_log('"sent".*acme-1', e2e.PATIENCE_SECONDS)
        self.assertEqual(postbus.stop(), 0)

    def test_in_c_and_a_renderer(self):
        for block in self.blocks[2:]:
            self.check_passed(self.run_block(block, self.directory))

    def test_a_renderer_in_c(self):
        run("postbus", "plugins", "new", "letters", "--kind", "renderer", "--language", "c", cwd=self.directory,
            env=self.environment)  # fmt: skip
        as_is = self.blocks[2].replace("acme-c", "letters").split("\n", 1)[1]
        self.check_passed(run("bash", "-euc", as_is, cwd=self.directory, env=self.environment).stdout)

    def test_refused(self):
        (self.directory / "there").mkdir()
        for name, error in (("there", "is there already"), ("Bad_Name", "a-z, 0-9 and -"), ("../x", "a-z, 0-9 and -")):
            done = self.run_postbus("plugins", "new", name, cwd=self.directory)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(error, done.stderr)


if __name__ == "__main__":
    e2e.main()
