"""The four clients behind one interface: create a topic, produce numbered records, read them in a group and commit.

Record n has the key n mod 100, the value n and a header "h" with n, all as text; `consume` gives (partition, offset, n) of
each record after checking that key, value and header belong together.
"""

import json
import subprocess
import threading
import time

import confluent_kafka
import confluent_kafka.admin
import kafka
import kafka.admin
from broker import JAVA_JAR, KCAT

COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Confluent:
    name = "confluent-kafka"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def create(self, topic, partitions):
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([confluent_kafka.admin.NewTopic(topic, partitions)])[topic].result(30)

    def produce(self, topic, first, count, compression):
        errors = []
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": self.bootstrap, "compression.type": compression, "enable.idempotence": True, "linger.ms": 5}
        )
        for n in range(first, first + count):
            producer.produce(
                topic, str(n), str(n % 100), headers=[("h", str(n))], on_delivery=lambda e, _: errors.append(e) if e else None
            )
            producer.poll(0)
        assert producer.flush(60) == 0
        assert not errors, errors[:3]

    def consume(self, topic, group, count, members=2):
        config = {"bootstrap.servers": self.bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                  "enable.auto.commit": False, "session.timeout.ms": 10000}

        def open_one():
            consumer = confluent_kafka.Consumer(config)
            consumer.subscribe([topic], on_revoke=lambda c, _: commit(c))
            return consumer

        def commit(consumer):
            try:
                consumer.commit(asynchronous=False)
            except confluent_kafka.KafkaException as error:
                if error.args[0].code() != confluent_kafka.KafkaError._NO_OFFSET:
                    raise

        consumers, records = [open_one()], []
        deadline = time.monotonic() + 60
        while len(records) < count:
            assert time.monotonic() < deadline, f"read only {len(records)} of {count}"
            if records and len(consumers) < members:
                consumers.append(open_one())
            for consumer in consumers:
                for message in consumer.consume(500, 0.1):
                    assert message.error() is None, message.error()
                    n = int(message.value())
                    assert message.key() == str(n % 100).encode() and message.headers() == [("h", str(n).encode())]
                    records.append((message.partition(), message.offset(), n))
        for consumer in consumers:
            commit(consumer)
        for consumer in consumers:
            consumer.close()
        return records


class KafkaPython:
    name = "kafka-python"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def create(self, topic, partitions):
        admin = kafka.admin.KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.create_topics([kafka.admin.NewTopic(topic, partitions, 1)])
        admin.close()

    def produce(self, topic, first, count, compression):
        producer = kafka.KafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", linger_ms=5,
            compression_type=None if compression == "none" else compression,
        )
        futures = [
            producer.send(topic, str(n).encode(), str(n % 100).encode(), headers=[("h", str(n).encode())])
            for n in range(first, first + count)
        ]
        producer.flush(60)
        for future in futures:
            future.get(1)
        producer.close()

    def consume(self, topic, group, count, members=2):
        records, lock, enough, errors = [], threading.Lock(), threading.Event(), []

        def member(delay):
            try:
                while delay and not records and not enough.is_set():
                    time.sleep(0.01)
                consumer = kafka.KafkaConsumer(
                    topic, bootstrap_servers=self.bootstrap, group_id=group, auto_offset_reset="earliest",
                    enable_auto_commit=False, session_timeout_ms=10000, max_poll_records=500,
                )
                while not enough.is_set():
                    # kafka-python 3.0 loses an assignment that arrives when a poll has just timed out. It asks for metadata
                    # again after 100 ms, and then rejoins: no poll may end at that moment.
                    for batch in consumer.poll(1000).values():
                        for r in batch:
                            n = int(r.value)
                            assert r.key == str(n % 100).encode() and r.headers == [("h", str(n).encode())] or tuple(r.headers) == (("h", str(n).encode()),)
                            with lock:
                                records.append((r.partition, r.offset, n))
                    if consumer.assignment():
                        try:
                            consumer.commit()
                        except kafka.errors.KafkaError:
                            pass  # a rebalance is under way; what was read is committed after it
                    if len(records) >= count:
                        enough.set()
                consumer.close()
            except Exception as error:  # handed to the test's thread
                errors.append(error)
                enough.set()

        threads = [threading.Thread(target=member, args=(delay,)) for delay in range(members)]
        for thread in threads:
            thread.start()
        enough.wait(60)
        enough.set()
        for thread in threads:
            thread.join(30)
        assert not errors, errors
        assert len(records) >= count, f"read only {len(records)} of {count}"
        return records


class Java:
    name = "java"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def run(self, *args):
        classpath = f"{JAVA_JAR}:{JAVA_JAR.parent}/libs/*"
        done = subprocess.run(
            ["java", "-Xmx256m", "-cp", classpath, "norn.Roundtrip", args[0], self.bootstrap, *map(str, args[1:])],
            capture_output=True, text=True, timeout=120,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def create(self, topic, partitions):
        self.run("create", topic, partitions)

    def produce(self, topic, first, count, compression):
        self.run("produce", topic, first, count, compression)

    def consume(self, topic, group, count, members=2):
        records = []
        for line in self.run("consume", topic, group, count, members).splitlines():
            partition, offset, key, value, header = line.split()
            assert key == str(int(value) % 100) and header == value
            records.append((int(partition), int(offset), int(value)))
        return records


class Kcat:
    """kcat writes one set of headers a run, so its records carry the header "h" with the text `kcat`."""

    name = "kcat"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def create(self, topic, partitions):
        # kcat has no create; asking for the topic's metadata creates it with num.partitions.
        subprocess.run([KCAT, "-b", self.bootstrap, "-L", "-t", topic], check=True, capture_output=True, timeout=30)

    def produce(self, topic, first, count, compression):
        text = "".join(f"{n % 100}:{n}\n" for n in range(first, first + count))
        subprocess.run(
            [KCAT, "-b", self.bootstrap, "-P", "-t", topic, "-K:", "-z", compression, "-H", "h=kcat", "-X", "acks=all"],
            input=text, text=True, check=True, timeout=60, capture_output=True,
        )

    def consume(self, topic, group, count, members=2):
        def start():
            return subprocess.Popen(
                [KCAT, "-b", self.bootstrap, "-G", group, "-u", "-J", "-X", "auto.offset.reset=earliest",
                 "-X", "session.timeout.ms=10000", "-X", "auto.commit.interval.ms=100", topic],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )

        records, lock, seen = [], threading.Lock(), threading.Event()

        def read(process):
            for line in process.stdout:
                r = json.loads(line)
                n = int(r["payload"])
                assert r["key"] == str(n % 100) and r["headers"] == ["h", "kcat"], r
                with lock:
                    records.append((r["partition"], r["offset"], n))
                seen.set()

        processes, threads = [], []
        deadline = time.monotonic() + 60
        while len(records) < count and time.monotonic() < deadline:
            if not processes or (len(processes) < members and seen.is_set()):
                processes.append(start())
                threads.append(threading.Thread(target=read, args=(processes[-1],)))
                threads[-1].start()
            time.sleep(0.02)
        time.sleep(0.3)  # past the auto-commit interval
        for process in processes:
            process.terminate()  # kcat leaves its group and commits on SIGTERM
        for process, thread in zip(processes, threads):
            process.wait(20)
            thread.join(20)
        assert len(records) >= count, f"read only {len(records)} of {count}"
        return records


CLIENTS = [Confluent, KafkaPython, Java, Kcat]
