"""What is asked of a broker: each function is one client process, and returns figures."""

import os
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition

# Batches as large as throughput wants; the broker's own limit for one is 1 MiB.
BATCHING = {"linger.ms": 20, "batch.size": 900_000, "queue.buffering.max.messages": 200_000}
# One record, one request.
AT_ONCE = {"linger.ms": 0, "socket.nagle.disable": True}
STALLED_S = 60


def produce(bootstrap, topic, partitions, record_bytes, records, start_at):
    """Sends `records` in large batches, round-robin, acks=all. Returns (begin, end, failed)."""
    failed = 0

    def told(error, _message):
        nonlocal failed
        failed += error is not None

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **BATCHING})
    producer.list_topics(topic, 30)
    value = os.urandom(record_bytes)
    wait_until(start_at)
    begin = time.time()
    for number in range(records):
        while True:
            try:
                # A run of records to each partition, so that batches fill.
                producer.produce(topic, value, partition=(number >> 8) % partitions, on_delivery=told)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 1000 == 0:
            producer.poll(0)
    left = producer.flush(STALLED_S)
    return begin, time.time(), failed + left


def consume(bootstrap, topic, partitions, records, start_at):
    """Reads `records` of these partitions from their start. Returns (begin, end, bytes)."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "fetch.max.bytes": 64 << 20,
            "max.partition.fetch.bytes": 8 << 20,
            "queued.min.messages": 200_000,
            "check.crcs": False,
        }
    )
    consumer.list_topics(topic, 30)
    wait_until(start_at)
    begin = time.time()
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    seen, read_bytes, moved = 0, 0, begin
    while seen < records and time.time() - moved < STALLED_S:
        got = consumer.consume(10_000, 0.2)
        if got:
            moved = time.time()
        seen += len(got)
        read_bytes += sum(len(message.value() or b"") for message in got)
    end = time.time()
    consumer.close()
    return begin, end, read_bytes


def trickle(bootstrap, topic, record_bytes, per_second, seconds):
    """Records at an even pace. Returns the latencies, in ms: from sending to the ack, and to a consumer."""
    acked, seen = [], []
    stop = threading.Event()
    ready = threading.Event()

    def read():
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-latency", "fetch.wait.max.ms": 500})
        consumer.assign([TopicPartition(topic, 0, 0)])
        while not stop.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            if not ready.is_set():
                ready.set()
                continue
            seen.append((time.perf_counter_ns() - int(message.value()[:20])) / 1e6)
        consumer.close()

    reader = threading.Thread(target=read)
    reader.start()
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **AT_ONCE})
    producer.produce(topic, b"warm up", partition=0)
    producer.flush(STALLED_S)
    ready.wait(STALLED_S)
    padding = b" " * max(record_bytes - 20, 0)
    begin = time.perf_counter()
    for number in range(per_second * seconds):
        poll_until(producer, begin + number / per_second)
        sent = time.perf_counter_ns()
        told = lambda error, _, sent=sent: error or acked.append((time.perf_counter_ns() - sent) / 1e6)
        producer.produce(topic, b"%020d" % sent + padding, partition=0, on_delivery=told)
    producer.flush(STALLED_S)
    time.sleep(0.5)
    stop.set()
    reader.join()
    return acked, seen


def volleys(bootstrap, topic, partitions, record_bytes, count):
    """One record to each partition at once, again and again, without waiting to fill batches. Ack latencies in ms."""
    acked = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **AT_ONCE})
    producer.list_topics(topic, 30)
    value = os.urandom(record_bytes)
    for _ in range(count):
        for partition in range(partitions):
            sent = time.perf_counter_ns()
            told = lambda error, _, sent=sent: error or acked.append((time.perf_counter_ns() - sent) / 1e6)
            producer.produce(topic, value, partition=partition, on_delivery=told)
        producer.flush(STALLED_S)
        time.sleep(0.02)
    return acked


def wait_until(instant):
    time.sleep(max(0.0, instant - time.time()))


def poll_until(producer, instant):
    """Serves acks until then: an ack is seen when someone looks."""
    while (left := instant - time.perf_counter()) > 0:
        producer.poll(min(left, 0.001))
