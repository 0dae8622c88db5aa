"""kill -9 in the middle of a produce load: what was acknowledged is there, in order, and the next start is quick."""

import os
import random
import time

import confluent_kafka
import pytest
from broker import FULL, Broker
from load import Reader, create_topics, producers

ROUNDS = int(os.environ.get("NORN_TEST_ROUNDS", "20"))
START_MAX_S = 2


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_order_holds_when_the_process_is_killed(tmp_path):
    rng = random.Random(os.environ.get("NORN_TEST_SEED", "kill"))
    broker = Broker(tmp_path).start()
    create_topics(broker.bootstrap, "idempotent", "plain")
    # The idempotent producer lives through all kills, and sends again what was not answered.
    loads = producers(broker.bootstrap, queue=300)
    readers = [Reader(broker.bootstrap, load.topic) for load in loads]
    starts = []
    for _ in range(ROUNDS):
        time.sleep(rng.uniform(0.05, 0.5))
        for load in loads:
            load.await_ack()
        broker.kill()
        acked = [dict(load.acked) for load in loads]
        broker.start()
        starts.append(broker.started_in)
        for known, reader in zip(acked, readers):
            reader.catch_up()
            assert not (lost := reader.missing(known)), f"{len(lost)} lost of {reader.topic}: {lost[:5]}"
    for load, reader in zip(loads, readers):
        load.stop()
        reader.catch_up()
        assert not reader.missing(load.acked)
    readers[0].assert_each_once_in_order()
    readers[1].assert_rising()
    assert loads[0].failed == 0
    print(f"{ROUNDS} kills, acknowledged {[len(load.acked) for load in loads]}, slowest start {max(starts):.2f} s")
    assert max(starts) < START_MAX_S, starts
    assert broker.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("flush_mode", ["sync", "async"])
def test_the_start_after_a_kill_takes_under_two_seconds_whatever_the_log_holds(tmp_path, flush_mode):
    size = (1 << 30) if FULL else (256 << 20)
    record = os.urandom(16 << 10)
    broker = Broker(tmp_path, flush__mode=flush_mode, num__partitions=4).start()
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "batch.size": 1 << 20, "log_level": 0,
         "queue.buffering.max.kbytes": 65536}
    )
    for _ in range(size // len(record)):
        while True:
            try:
                producer.produce("large", record)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    assert producer.flush(120) == 0
    del producer
    for _ in range(2):
        broker.kill()
        broker.start()
        print(f"flush.mode={flush_mode}: started in {broker.started_in:.2f} s with {size >> 20} MiB of log")
        assert broker.started_in < START_MAX_S, broker.log()
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "log_level": 0})
    ends = [consumer.get_watermark_offsets(confluent_kafka.TopicPartition("large", p), 30)[1] for p in range(4)]
    consumer.close()
    assert sum(ends) == size // len(record), ends
    assert broker.stop() == 0
