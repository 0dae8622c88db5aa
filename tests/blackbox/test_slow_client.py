"""One client that reads a byte per second: the others do not notice it, and it costs a bounded amount of memory."""

import socket
import statistics
import struct
import threading
import time

import confluent_kafka
from load import create_topics
from test_bad_input import FETCH, head, sized, text

RECORDS = 300
SLOW_READERS = 3
GROWTH_MAX = 100 << 20


def fetch_all(topic, correlation):
    body = struct.pack(">iiiibi", -1, 100, 1, 50 << 20, 0, 1) + text(topic) + struct.pack(">iiqi", 1, 0, 0, 50 << 20)
    return sized(head(FETCH, 4, correlation) + body)


class ByteASecond:
    """Asks for far more than a socket holds, again and again, and takes a byte of it per second."""

    def __init__(self, port, topic):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        for n in range(50):
            self.socket.sendall(fetch_all(topic, n))
        self.taken, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.done.wait(1):
            self.taken += len(self.socket.recv(1))

    def stop(self):
        self.done.set()
        self.thread.join()
        self.socket.close()


def round_trips(bootstrap, topic):
    """Seconds from produce to consume of one record after another, with acks=all."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "quick", "enable.auto.commit": False})
    _, end = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), 20)
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, end)])
    took = []
    for n in range(RECORDS + 20):
        began = time.monotonic()
        producer.produce(topic, str(n))
        assert producer.flush(20) == 0
        message = consumer.poll(20)
        assert message is not None and message.error() is None and message.value() == str(n).encode()
        took.append(time.monotonic() - began)
    consumer.close()
    return sorted(took[20:])


def test_a_client_that_reads_a_byte_per_second_delays_no_other(broker):
    create_topics(broker.bootstrap, "large", "quick", partitions=1)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5})
    for _ in range(4000):
        producer.produce("large", bytes(16 << 10))
        producer.poll(0)
    assert producer.flush(60) == 0
    alone, before = round_trips(broker.bootstrap, "quick"), broker.rss()
    slow = [ByteASecond(broker.port, "large") for _ in range(SLOW_READERS)]
    time.sleep(1.5)
    # Both topics: the same partition that the slow ones read, and another.
    beside = [round_trips(broker.bootstrap, topic) for topic in ("quick", "large")]
    grown = broker.rss() - before
    assert all(client.taken > 0 for client in slow), "the slow clients are still served"
    for client in slow:
        client.stop()
    p99 = [took[int(len(took) * 0.99)] * 1000 for took in (alone, *beside)]
    medians = [statistics.median(took) * 1000 for took in (alone, *beside)]
    print(f"round trip alone, beside, beside on the same partition: p50 {[round(m, 2) for m in medians]} ms, "
          f"p99 {[round(p, 2) for p in p99]} ms; memory grew by {grown >> 10} KiB")
    # Generous, since the machine does other things too; what waits for a slow client waits for seconds.
    assert max(medians[1:]) <= max(5 * medians[0], 20)
    assert max(p99[1:]) <= max(5 * p99[0], 200)
    assert grown <= GROWTH_MAX
