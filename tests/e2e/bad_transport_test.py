"""A transport plugin that never answers, one that answers twice, one that crashes: what becomes of its mails and of the others."""

import contextlib
import json
import signal
import threading

import e2e
from postbus_process import Client, ProcessError, get, wait_until

BAD_PLUGINS = e2e.BUILD / "tests" / "bad_plugins"
SCRIPTED = e2e.BUILD / "tests" / "plugins" / "scripted_transport.so"
CONNECTIONS = 8


class BadTransport(e2e.OnSqlite, e2e.TestCase):
    """Mails with the tag `bad` go by the bad plugin, all others by SMTP."""

    def write(self, plugin: str):
        self.server = getattr(self, "server", None) or self.sink()
        good = self.smtp(port=self.server.port, max_connections=CONNECTIONS)
        return self.write_config(
            self.queue(),
            transports=f"{{ bad: {plugin}, good: {good} }}",
            routes="[ { match: { tag: bad }, use: [bad] }, { use: [good] } ]",
            host="{ drain_timeout: 5s }",
        )

    def send(self, api: str, count: int, name: str = "user", **fields) -> set[str]:
        mails = [{"to": f"{name}+{i}@{e2e.DOMAIN}", "template": "notice", **fields} for i in range(count)]
        accepted: list[str] = []
        e2e.post_all(api, mails, accepted)
        self.assertEqual(len(accepted), count)
        return set(accepted)

    def wait_for(self, ids: set[str]) -> None:
        wait_until(lambda: ids <= set(self.server.ids()), e2e.PATIENCE_SECONDS, f"{len(ids)} mails by SMTP")

    def test_one_that_never_answers(self):
        postbus = self.postbus(self.write(f"{{ plugin: {BAD_PLUGINS}/never_completes.so }}"))
        postbus.start()
        lost_to_it = self.send(postbus.api, 100, tags=["bad"])
        wait_until(lambda: postbus.metric("postbus_email_inflight") == 100, e2e.PATIENCE_SECONDS, "it to have its mails")
        others = self.send(postbus.api, 500)
        self.wait_for(others)
        self.assertEqual(get(postbus.admin, "/livez").status, 200)
        wait_until(lambda: postbus.metric("postbus_email_inflight") == 100, e2e.PATIENCE_SECONDS, "the others to be over")
        postbus.stop()  # it has mails, so not all is done
        # What it had never passed the point of no return: by another transport it goes, once.
        self.write('{ plugin: smtp, options: { host: 127.0.0.1, tls: none, port: "%d" } }' % self.server.port)
        postbus.start()
        self.wait_for(lost_to_it)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(self.server.ids(), lost_to_it | others)

    def test_one_that_answers_twice(self):
        config = self.write(f"{{ plugin: {BAD_PLUGINS}/completes_twice.so }}")
        postbus = self.postbus(config)
        postbus.start()
        its, others = self.send(postbus.api, 200, tags=["bad"]), self.send(postbus.api, 200)
        self.wait_for(others)
        wait_until(lambda: postbus.metric("postbus_duplicate_completions_total") == 200, e2e.PATIENCE_SECONDS, "the count")
        with Client(postbus.api) as client:
            for id in its:  # the first answer holds: it was accepted, then rejected
                wait_until(lambda: client.request("GET", f"/v1/emails/{id}").json["last_event"] == "sent",
                           e2e.PATIENCE_SECONDS, "the mails of the plugin to be sent")  # fmt: skip
        postbus.wait_for_log("completed an attempt twice; ignored", e2e.PATIENCE_SECONDS)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(self.server.ids(), others)

    def test_one_that_crashes(self):
        """In a thread of its own, by a null pointer. The host is started again as `restart: on-failure` would."""
        config = self.write(f"{{ plugin: {SCRIPTED} }}")
        api = self.postbus(config, role="api", log=self.directory / "api.log")
        api.start()
        host = self.postbus(config, role="host")
        host.start()
        deaths: list[int] = []
        over = threading.Event()

        def supervise():
            while (code := host.wait(e2e.PATIENCE_SECONDS * 4)) != 0:
                deaths.append(code)
                with contextlib.suppress(ProcessError):  # dead again before it listens
                    host.start()
                if over.is_set():
                    host.terminate()

        supervisor = threading.Thread(target=supervise)
        supervisor.start()
        try:
            others = self.send(api.api, 300)
            (bad,) = self.send(api.api, 1, "segv", tags=["bad"])
            others |= self.send(api.api, 300)
            its = self.send(api.api, 20, tags=["bad"])
            self.wait_for(others)

            def letters():
                done = self.run_postbus("dlq", "list", "-c", config, "--output", "json")
                return [(letter["id"], letter["outcome"]) for letter in json.loads(done.stdout or "[]")]

            wait_until(lambda: letters() == [(bad, "poison")], e2e.PATIENCE_SECONDS, lambda: f"the dead letter: {letters()}")
            with Client(api.api) as client:
                for id in its:  # suspects, too, and innocent
                    wait_until(lambda: client.request("GET", f"/v1/emails/{id}").json["last_event"] == "sent",
                               e2e.PATIENCE_SECONDS, "the other mails of the plugin")  # fmt: skip
        finally:
            over.set()
            host.terminate()
            supervisor.join()
        self.assertEqual(deaths, [-signal.SIGSEGV] * 2, "once where it is one suspect of many, once alone")
        got = self.server.ids()
        self.assertEqual(set(got), others)
        self.assertLessEqual(len(got) - len(others), len(deaths) * CONNECTIONS, "more than waited for an answer")
        print(f"{len(others)} mails, {len(got) - len(others)} of them came again, {len(deaths)} deaths", flush=True)
        self.assertEqual(api.stop(), 0)


if __name__ == "__main__":
    e2e.main()
