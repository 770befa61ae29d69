"""Another configuration while mails flow: SIGHUP and POST /-/reload; what fails changes nothing."""

import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import e2e
from postbus_process import Client, get, post, wait_until

NOTICE = {"to": f"ada@{e2e.DOMAIN}", "template": "notice"}
NULL = '{ plugin: "null" }'


class ReloadCase(e2e.TestCase):
    def file(self, name: str) -> str:
        return f"{{ plugin: file, options: {{ directory: {name}, sync: false }} }}"

    def write(self, transport: str, **top: str):
        """Replaced as a whole, as editors and Kubernetes do it."""
        config = self.write_config(top.pop("queue", self.queue_sqlite()), transport, name="next.yaml", **top)
        target = config.with_name("postbus.yaml")
        config.rename(target)
        return target

    def start(self, config, **arguments):
        postbus = self.postbus(config, **arguments)
        postbus.start()
        return postbus

    def reload(self, postbus):
        with Client(postbus.admin, timeout=e2e.PATIENCE_SECONDS) as client:
            return client.request("POST", "/-/reload", b"")

    def written(self, name: str) -> list[str]:
        """The ids of the mails in a directory of the transport `file`, each as often as it is there."""
        mails = (path.read_text() for path in (self.directory / name).glob("*.eml"))
        return [re.search(r"^Message-ID:\s*<([^@>]+)@", mail, re.MULTILINE)[1] for mail in mails]

    def send(self, postbus, name: str) -> None:
        """Posts a mail that has to appear in that directory."""
        id = post(postbus.api, NOTICE).json["id"]
        wait_until(lambda: id in self.written(name), e2e.PATIENCE_SECONDS, f"the mail in {name}")


class Answers(ReloadCase):
    def test_what_changed_is_told_and_counted(self):
        postbus = self.start(self.write(self.file("one")))
        self.send(postbus, "one")
        self.write(self.file("two"))
        answer = self.reload(postbus)
        self.assertEqual((answer.status, answer.json),
                         (200, {"generation": 2, "kept": [], "started": ["primary"], "ended": ["primary"], "warnings": []}))  # fmt: skip
        self.send(postbus, "two")
        self.assertEqual(len(self.written("one")), 1)

        self.write(self.file("two"), transports=f"{{ primary: {self.file('two')}, extra: {NULL} }}",
                   routes="[ { use: [primary, extra] } ]")  # fmt: skip
        self.assertEqual(self.reload(postbus).json["kept"], ["primary"])
        metrics = get(postbus.admin, "/metrics").body.decode()
        self.assertIn('postbus_config_reloads_total{result="success"} 2', metrics)
        self.assertIn("postbus_config_generation 3", metrics)
        self.assertEqual(postbus.stop(), 0)

    def test_what_is_wrong_is_told_and_nothing_changes(self):
        postbus = self.start(self.write(self.file("one")))
        self.write("{ plugin: flie }")
        wrong = self.reload(postbus)
        self.assertEqual((wrong.status, wrong.json["code"]), (422, "invalid_configuration"))
        self.assertRegex(wrong.json["detail"], r'postbus\.yaml:\d+:\d+: .*did you mean "file"')
        (self.directory / "postbus.yaml").write_text("version: 1\nqueue: {")
        self.assertRegex(self.reload(postbus).json["detail"], r"postbus\.yaml:\d+:\d+: ")
        self.write(self.file("one"), host="{ threads: 3 }", queue="{ type: sqlite, sqlite: { path: other.db } }")
        restart = self.reload(postbus)
        self.assertEqual((restart.status, restart.json["code"]), (409, "restart_needed"))
        self.assertIn("queue.sqlite.path, host.threads", restart.json["detail"])
        self.assertEqual(postbus.metric("postbus_config_reloads_total"), 3)
        self.assertIn('postbus_config_reloads_total{result="failure"} 3', get(postbus.admin, "/metrics").body.decode())
        self.assertRegex(postbus.output(), r"reload failed, nothing was changed")
        self.send(postbus, "one")
        self.assertEqual(get(postbus.admin, "/-/reload").status, 405)
        self.assertEqual(postbus.stop(), 0)

    def test_a_plugin_that_crashes_does_so_in_a_child(self):
        postbus = self.start(self.write(self.file("one")))
        self.write(f"{{ plugin: {e2e.BUILD}/tests/bad_plugins/crashes_in_create.so }}")
        answer = self.reload(postbus)
        self.assertEqual(answer.status, 422, answer.body)
        self.assertIn("a plugin ended the process that checked it", answer.json["detail"])
        self.send(postbus, "one")
        self.assertEqual(postbus.stop(), 0)

    def test_a_server_that_does_not_answer_is_a_warning(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        postbus = self.start(self.write(self.file("one")))
        self.write(self.file("one"), routes="[ { use: [primary, away] } ]",
                   transports=f"{{ primary: {self.file('one')}, away: {self.smtp(port=port)} }}")  # fmt: skip
        answer = self.reload(postbus)
        self.assertEqual((answer.status, answer.json["started"]), (200, ["away"]), answer.body)
        self.assertRegex(answer.json["warnings"][0], r"transport away: ")
        self.assertEqual(postbus.stop(), 0)

    def test_sighup_in_each_role(self):
        config = self.write(self.file("one"))
        host = self.start(config, role="host")
        api = self.start(config, role="api", log=self.directory / "api.log")
        self.send(api, "one")
        self.add_template("farewell", subject="Bye", text="Bye.\n")
        self.assertEqual(post(api.api, {**NOTICE, "template": "farewell"}).status, 422)
        self.write(self.file("two"))
        for postbus in (host, api):
            os.kill(postbus.pid, signal.SIGHUP)
            postbus.wait_for_log(r"reloaded.*SIGHUP", e2e.PATIENCE_SECONDS)
        id = post(api.api, {**NOTICE, "template": "farewell"}).json["id"]
        wait_until(lambda: id in self.written("two"), e2e.PATIENCE_SECONDS, "the mail of the new template")
        self.assertEqual((api.stop(), host.stop()), (0, 0))

    def test_the_last_configuration_s_drain_timeout_holds(self):
        postbus = self.start(self.write(self.file("one")))
        self.write(self.file("one"), host="{ drain_timeout: 7s }")
        self.assertEqual(self.reload(postbus).status, 200)
        self.assertEqual(postbus.stop(), 0)
        self.assertRegex(postbus.output(), r'"stopping","drain_timeout_seconds":7\.0')

    def test_requests_at_the_same_time_share_reloads(self):
        postbus = self.start(self.write(self.file("one")))
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.reload(postbus))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([answer.status for answer in answers], [200] * 20)
        self.assertLess(postbus.metric("postbus_config_reloads_total"), 20)
        self.assertEqual(postbus.stop(), 0)


class Hang(ReloadCase):
    def test_a_plugin_that_hangs_is_given_up(self):
        postbus = self.start(self.write(self.file("one")))
        self.write(f"{{ plugin: {e2e.BUILD}/tests/bad_plugins/hangs_in_create.so }}")
        answers = []
        reload = threading.Thread(target=lambda: answers.append(self.reload(postbus)))
        reload.start()
        self.send(postbus, "one")  # meanwhile
        reload.join()
        self.assertEqual(answers[0].status, 422, answers[0].body)
        self.assertIn("the check did not end within 30 s; a plugin seems to hang", answers[0].json["detail"])
        self.send(postbus, "one")
        self.assertEqual(postbus.stop(), 0)


class PluginFile(ReloadCase):
    """The plugin's file itself is replaced."""

    def setUp(self):
        super().setUp()
        self.directory.joinpath("acme").mkdir(mode=0o755)
        self.plugin = self.directory / "acme" / "acme.so"
        self.acme = f"{{ plugin: {self.plugin}, options: {{ directory: acme-mails, sync: false }} }}"

    def copies(self) -> set[str]:
        return {path.name for path in (self.directory / "state" / "plugins").iterdir()}

    def install(self, version: bytes, in_place: bool = False) -> str:
        """The transport `file`, each version with other bytes; its copy's name."""
        content = (e2e.BUILD / "plugins" / "file.so").read_bytes() + version  # ELF does not care
        target = self.plugin if in_place else self.plugin.with_suffix(".new")
        target.write_bytes(content)
        target.chmod(0o644)
        target.rename(self.plugin)
        return hashlib.sha256(content).hexdigest() + ".so"

    def test_it_is_really_the_new_one(self):
        first = self.install(b"one")
        postbus = self.start(self.write(self.acme))
        self.send(postbus, "acme-mails")
        self.assertEqual(len(self.copies()), 2, "the renderer's and the transport's")
        for in_place in (False, True):
            version = self.install(b"in place" if in_place else b"replaced", in_place)
            answer = self.reload(postbus)
            self.assertEqual((answer.status, answer.json["started"]), (200, ["primary"]), answer.body)
            self.send(postbus, "acme-mails")
            maps = pathlib.Path(f"/proc/{postbus.pid}/maps").read_text()
            self.assertIn(version, maps)
            wait_until(lambda: len(self.copies()) == 2 and version in self.copies(), e2e.PATIENCE_SECONDS, "clean copies")
        self.assertEqual(self.reload(postbus).json["kept"], ["primary"])
        self.assertNotIn(first, self.copies())
        self.assertEqual(postbus.stop(), 0)

    def test_who_can_write_it_and_which_it_is(self):
        name = self.install(b"pinned")
        sha256 = name.removesuffix(".so")
        postbus = self.start(self.write(self.acme.replace("options", f"sha256: {sha256}, options", 1)))
        self.install(b"another")
        answer = self.reload(postbus)
        self.assertEqual(answer.status, 422)
        self.assertRegex(answer.json["detail"], r"postbus\.yaml:\d+:\d+: .*acme\.so has the sha256 [0-9a-f]{64}, not the one")
        self.write(self.acme)
        self.plugin.chmod(0o666)
        self.assertIn(f"`chmod go-w {self.plugin}`", self.reload(postbus).json["detail"])
        self.plugin.chmod(0o644)
        self.assertEqual(self.reload(postbus).status, 200)
        self.assertEqual(postbus.stop(), 0)


class Watch(ReloadCase):
    """--watch: nobody has to tell."""

    def reloaded(self, postbus, times: int) -> None:
        wait_until(lambda: postbus.metric("postbus_config_reloads_total") == times, e2e.PATIENCE_SECONDS,
                   lambda: f"{times} reloads; {postbus.tail(5)}")  # fmt: skip

    def test_written_renamed_and_broken(self):
        config = self.write(self.file("one"))
        postbus = self.start(config, options=["--watch"])
        self.write(self.file("two"))  # by a rename
        self.reloaded(postbus, 1)
        self.send(postbus, "two")
        config.write_text(config.read_text().replace("two", "three"))  # in place
        self.reloaded(postbus, 2)
        self.send(postbus, "three")
        config.write_text("version: 1\n")
        postbus.wait_for_log("reload failed, nothing was changed.*the file changed", e2e.PATIENCE_SECONDS)
        self.send(postbus, "three")
        self.assertEqual(postbus.stop(), 0)

    def test_as_kubernetes_swaps_a_config_map(self):
        volume = self.directory / "volume"
        options = f"{{ directory: {self.directory}/%s, sync: false }}"
        for version in ("one", "two", "three"):
            self.write(f"{{ plugin: file, options: {options % version} }}",
                       renderer=f"{{ plugin: ctemplate, options: {{ directory: {self.directory}/templates }} }}")  # fmt: skip
            (volume / f"..{version}").mkdir(parents=True)
            (self.directory / "postbus.yaml").rename(volume / f"..{version}" / "postbus.yaml")
        (volume / "..data").symlink_to("..one")
        (volume / "postbus.yaml").symlink_to("..data/postbus.yaml")
        settings = {"state_dir": self.directory / "state", "queue.sqlite.path": self.directory / "postbus.db"}
        postbus = self.start(volume / "postbus.yaml", options=["--watch"], settings=settings)
        self.send(postbus, "one")
        for times, version in enumerate(("two", "three"), start=1):
            (volume / "..data_tmp").symlink_to(f"..{version}")
            (volume / "..data_tmp").rename(volume / "..data")
            self.reloaded(postbus, times)
            self.send(postbus, version)
        self.assertEqual(postbus.stop(), 0)


class Documentation(ReloadCase):
    def test_the_page_s_command_and_answer(self):
        page = (e2e.ROOT / "docs" / "reload.md").read_text()
        command = re.search(r"^curl .*$", page, re.MULTILINE)[0]
        config = self.write(NULL)
        postbus = self.start(config)
        self.write(NULL, transports=f"{{ primary: {NULL}, backup: {NULL} }}", routes="[ { use: [primary, backup] } ]")
        done = subprocess.run(["sh", "-c", command.replace("http://127.0.0.1:9464", postbus.admin)],
                              capture_output=True, text=True, timeout=e2e.PATIENCE_SECONDS)  # fmt: skip
        self.assertIn(done.stdout.strip(), page)
        self.assertIn(command, (e2e.ROOT / "README.md").read_text())
        self.assertEqual(postbus.stop(), 0)


class WhileMailsFlow(ReloadCase):
    """The route flips between two transports, every tenth configuration is broken: each mail comes once."""

    def test_flipping(self):
        sink = self.sink()
        transports = f"{{ smtp: {self.smtp()}, files: {self.file('files')} }}"
        ways = [{"transports": transports, "routes": f"[ {{ use: [{name}] }} ]"} for name in ("smtp", "files")]
        ways.append({"transports": f"{{ files: {self.file('files')} }}"})
        postbus = self.start(self.write("", **ways[0]), environment=sink.environment)
        mails = [{**NOTICE, "id": e2e.new_id()} for _ in range(6_000)]
        accepted: list[str] = []
        feeder = threading.Thread(target=e2e.post_all, args=(postbus.api, mails, accepted, 2))
        feeder.start()
        flips = failures = 0
        while feeder.is_alive() or flips < 20:
            flips += 1
            if flips % 10 == 0:
                self.write("{ plugin: nowhere }")
                failures += 1
                self.assertEqual(self.reload(postbus).status, 422)
                continue
            self.write("", **ways[flips % len(ways)])
            answer = self.reload(postbus)
            self.assertEqual(answer.status, 200, answer.body)
            time.sleep(0.05)  # the pace of the flips; nothing waits for it
        feeder.join()

        def all_came():
            return len(sink.ids()) + len(self.written("files")) >= len(mails)

        wait_until(all_came, e2e.PATIENCE_SECONDS, lambda: f"every mail; {postbus.tail(3)}")
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(sink.ids() + self.written("files"), {mail["id"] for mail in mails})
        self.assertTrue(sink.ids())
        self.assertTrue(self.written("files"))
        print(f"{flips} reloads, {failures} of them refused; {len(sink.ids())} by smtp, {len(self.written('files'))} files")


if __name__ == "__main__":
    e2e.main()
