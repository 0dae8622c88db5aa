"""Power loss of the real process: SIGKILL keeps the page cache, so the test itself takes away what no sync covers.

Each round starts the broker on what the last power loss left, checks that nothing acknowledged is missing and all is
readable, produces on, and ends in the next loss. `NORN_TEST_SEED` repeats the random choices, though not the moments.
"""

import os
import pathlib
import random
import subprocess
import time

import confluent_kafka
import pytest
from broker import Broker
from confluent_kafka.admin import AdminClient, NewTopic
from crash import Disk
from load import Reader, create_topics, producers

ROUNDS = int(os.environ.get("NORN_TEST_ROUNDS", "20"))
SMALL = {"log__segment__bytes": 1 << 20, "internal__journal__file__bytes": 1 << 20, "offsets__topic__num__partitions": 2}


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    """The preload library."""
    library = tmp_path_factory.mktemp("recorder") / "recorder.so"
    source = pathlib.Path(__file__).with_name("recorder.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


class Machine:
    """A broker whose disk is watched, and which can lose power."""

    def __init__(self, directory, recorder, rng, **settings):
        self.rng, self.recorder = rng, recorder
        self.broker = Broker(directory, **settings)
        self.data = self.broker.directory / "data"
        self.data.mkdir()
        self.records, self.lost, self.changes = self.broker.directory / "records", 0, 0

    def watch(self, syncs="obey"):
        """What is on the disk now is durable; from here on it is watched."""
        self.disk = Disk(self.data)
        self.records.unlink(missing_ok=True)
        self.broker.env = {
            "LD_PRELOAD": str(self.recorder), "NORN_TEST_RECORD_ROOT": str(self.data),
            "NORN_TEST_RECORD_FILE": str(self.records), "NORN_TEST_RECORD_SYNCS": syncs,
        }

    def lose_power(self):
        if self.broker.alive():
            self.broker.kill()
        # A process that was killed before its first change has recorded none.
        if self.records.exists():
            self.changes += self.disk.play(self.records.read_bytes())
        self.lost += self.disk.lose_power(self.rng)

    def lose_power_while_starting(self):
        self.watch()
        process = self.broker.launch()
        time.sleep(self.rng.uniform(0, 0.15))
        process.kill()
        process.wait(10)
        self.lose_power()


class Topics:
    """Topics that come and go, each with one record, with what was acknowledged of it."""

    def __init__(self, broker, rng):
        self.bootstrap, self.rng = broker.bootstrap, rng
        self.there, self.gone, self.count = set(), set(), 0

    def change_some(self, seconds):
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "log_level": 0})
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            name = f"topic-{self.count}"
            self.count += 1
            admin.create_topics([NewTopic(name, 2)])[name].result(20)
            errors = []
            producer.produce(name, name, partition=0, on_delivery=lambda error, _: errors.append(error))
            assert producer.flush(20) == 0 and errors == [None], errors
            self.there.add(name)
            if len(self.there) > 3:
                name = self.rng.choice(sorted(self.there))
                self.there.remove(name)
                admin.delete_topics([name])[name].result(20)
                self.gone.add(name)
            time.sleep(0.02)
        # One whose creation is under way when the power fails: either outcome is right.
        admin.create_topics([NewTopic(f"topic-{self.count}", 2)])
        self.count += 1

    def check(self):
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "t", "log_level": 0,
                                             "auto.offset.reset": "error"})
        found = set(consumer.list_topics(timeout=20).topics)
        assert self.there <= found, f"lost topics: {sorted(self.there - found)}"
        assert not self.gone & found, f"deleted topics are back: {sorted(self.gone & found)}"
        if self.there:
            consumer.assign([confluent_kafka.TopicPartition(name, 0, 0) for name in self.there])
            messages = consumer.consume(len(self.there), 20)
            assert {(m.topic(), m.value().decode()) for m in messages} == {(name, name) for name in self.there}
        consumer.close()


def check(readers, loads):
    for reader, load in zip(readers, loads):
        known = dict(load.acked)
        reader.catch_up(again=True)
        lost = reader.missing(known)
        assert not lost, f"{len(lost)} of {len(known)} acknowledged records of {reader.topic} are missing: {lost[:5]}"


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_power_fails(tmp_path, recorder):
    seed = os.environ.get("NORN_TEST_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"NORN_TEST_SEED={seed}")
    rng = random.Random(seed)
    machine = Machine(tmp_path, recorder, rng, **SMALL)
    broker = machine.broker
    machine.watch()
    broker.start()
    create_topics(broker.bootstrap, "idempotent", "plain")
    loads = producers(broker.bootstrap, queue=50)
    readers = [Reader(broker.bootstrap, load.topic) for load in loads]
    topics = Topics(broker, rng)
    for _ in range(ROUNDS):
        for load in loads:
            load.await_ack()
        topics.change_some(rng.uniform(0.05, 0.4))
        machine.lose_power()
        if rng.random() < 0.3:
            machine.lose_power_while_starting()
        machine.watch()
        broker.start()
        check(readers, loads)
        topics.check()
    for load in loads:
        load.stop()
    check(readers, loads)
    readers[0].assert_each_once_in_order()
    readers[1].assert_rising()
    assert loads[0].failed == 0
    print(f"{ROUNDS} losses: {machine.lost} of {machine.changes} changes undone, "
          f"acknowledged {[len(load.acked) for load in loads]} records and {topics.count} topics")
    assert machine.lost > ROUNDS, "the losses took nothing away: the test proves nothing"
    assert broker.stop() == 0


def lose_what_was_never_synced(machine):
    """Loads a broker whose syncs do nothing and takes the power away. Readers and loads, or none if the broker finds the
    metadata damaged and does not start."""
    broker = machine.broker
    broker.start()
    create_topics(broker.bootstrap, "idempotent", "plain")
    assert broker.stop() == 0
    machine.watch(syncs="ignore")
    broker.start()
    loads = producers(broker.bootstrap, queue=50)
    readers = [Reader(broker.bootstrap, load.topic) for load in loads]
    for load in loads:
        load.await_ack()
    time.sleep(0.5)
    machine.lose_power()
    for load in loads:
        load.stopping.set()
        load.thread.join()
    machine.watch()
    try:
        broker.start()
    except AssertionError as refused:
        assert "below what was durable" in str(refused)
        return None
    return readers, loads


@pytest.mark.slow
def test_a_broker_whose_syncs_do_nothing_is_found_out(tmp_path, recorder):
    for attempt in range(6):
        (tmp_path / str(attempt)).mkdir()
        machine = Machine(tmp_path / str(attempt), recorder, random.Random(f"no syncs {attempt}"), **SMALL)
        started = lose_what_was_never_synced(machine)
        if started:
            with pytest.raises(AssertionError, match="are missing") as found:
                check(*started)
            print(found.value)
            return
    pytest.fail("the broker never started: nothing is known of its records")
