"""Ten thousand mails from real producers to smtp-sink: each once. With the host killed in between: each all the same."""

import e2e
from postbus_process import wait_until

MAILS = 10_000
SECONDS = 240


class ManyMails(e2e.TestCase):
    def wait_for(self, sink, expected: set[str]) -> None:
        wait_until(lambda: expected <= set(sink.ids()), SECONDS, f"{len(expected)} mails at the sink")


class Http(ManyMails):
    """Mixed with OnSqlite and OnKafka."""

    def check_each_arrives_once(self):
        sink = self.sink()
        postbus = self.postbus(self.write_config(self.queue()), environment=sink.environment)
        postbus.start()
        mails = [e2e.seed_event(e2e.new_id()) if i % 2 else {"to": f"a{i}@{e2e.DOMAIN}", "template": "notice"}
                 for i in range(MAILS)]
        accepted: list[str] = []
        e2e.post_all(postbus.api, mails, accepted)
        self.assertEqual(len(accepted), MAILS)
        self.wait_for(sink, set(accepted))
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(sink.ids(), set(accepted))

    def check_kill_9_loses_nothing(self):
        sink = self.sink()
        postbus = self.postbus(self.write_config(self.queue()), environment=sink.environment)
        postbus.start()
        asked = {id: {"id": id, "to": f"ada@{e2e.DOMAIN}", "template": "notice"} for id in (e2e.new_id() for _ in range(MAILS))}
        accepted: list[str] = []
        killer = e2e.When(lambda: len(accepted) > MAILS // 3, postbus.kill)
        e2e.post_all(postbus.api, list(asked.values()), accepted)
        killer.join()
        print(f"killed after {len(accepted)} answers and {len(sink.ids())} mails", flush=True)
        self.assertLess(len(accepted), MAILS)

        postbus.start()
        # What got no answer may be in the queue or not: its client asks again with the same id.
        e2e.post_all(postbus.api, [asked[id] for id in asked.keys() - set(accepted)], accepted)
        self.assertEqual(set(accepted), asked.keys())
        self.wait_for(sink, set(accepted))
        self.assertEqual(postbus.stop(), 0)
        self.assert_each(sink.ids(), set(accepted), "kill -9 while mails come by HTTP")


class OnSqlite(e2e.OnSqlite, Http):
    def test_each_arrives_once(self):
        self.check_each_arrives_once()

    def test_kill_9_loses_nothing(self):
        self.check_kill_9_loses_nothing()


class OnKafka(e2e.OnKafka, Http):
    def test_each_arrives_once(self):
        self.check_each_arrives_once()

    def test_kill_9_loses_nothing(self):
        self.check_kill_9_loses_nothing()


class FromForeignProducers(e2e.OnKafka, ManyMails):
    """kcat puts records into the topics as other programs write them."""

    def produce(self, count: int) -> set[str]:
        """Half as the seed has them, half as Go writes zero values; some of these even without an id."""
        unnamed = count // 100
        events = [e2e.seed_event(e2e.new_id()) for _ in range(count // 2)]
        events += [e2e.go_event(e2e.new_id()) for _ in range(count // 2 - unnamed)]
        self.kafka.produce(events)
        # Such an event is named after its place.
        partition = 7
        first = self.kafka.end_offset(self.kafka.topic + "-low", partition)
        self.kafka.produce([e2e.go_event("") for _ in range(unnamed)], self.kafka.topic + "-low", partition)
        return {event["message"]["id"] for event in events} | {
            f"{self.kafka.topic}-low.{partition}.{offset}" for offset in range(first, first + unnamed)
        }

    def start_in_the_middle(self):
        """Half of the mails are there before a host ever started, the other half comes while it runs."""
        sink = self.sink()
        config = self.write_config(self.queue())
        created = self.run_postbus("topics", "create", "-c", config, env=self.environment(sink))
        self.assertEqual(created.returncode, 0, created.stderr)
        expected = self.produce(MAILS // 2)
        postbus = self.postbus(config, role="host", environment=sink.environment)
        postbus.start()
        wait_until(lambda: sink.count() > MAILS // 10, SECONDS, "the first mails at the sink")
        return sink, postbus, expected

    def test_each_arrives_once(self):
        sink, postbus, expected = self.start_in_the_middle()
        expected |= self.produce(MAILS // 2)
        self.assertEqual(len(expected), MAILS)
        self.wait_for(sink, expected)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each_once(sink.ids(), expected)

    def test_kill_9_loses_nothing(self):
        sink, postbus, expected = self.start_in_the_middle()
        postbus.kill()
        at_kill = len(sink.ids())
        self.assertLess(at_kill, MAILS // 2, "everything was sent before the kill")
        postbus.start()
        expected |= self.produce(MAILS // 2)
        self.wait_for(sink, expected)
        self.assertEqual(postbus.stop(), 0)
        self.assert_each(sink.ids(), expected, f"kill -9 at {at_kill} mails from Kafka")


if __name__ == "__main__":
    e2e.main()
