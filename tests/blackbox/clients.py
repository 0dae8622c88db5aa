"""The four clients behind one interface: create a topic, produce numbered records, read them as a member of a group.

Record n has the key n mod 100, the value n and a header "h" with n, all as text. A member reads and commits beside the test
from `join` to `leave`; its `records` are (partition, offset, n) of each record after a check that key, value and header
belong together.
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

# So that a member hears of a rebalance soon.
HEARTBEAT_MS = 300

COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Member:
    """One member of a group, read by a thread of its own."""

    def __init__(self):
        self.records, self.error, self.leaving = [], None, threading.Event()
        self.thread = threading.Thread(target=self.guarded, daemon=True)
        self.thread.start()

    def guarded(self):
        try:
            self.run()
        except Exception as error:  # handed to the test's thread
            self.error = error

    def take(self, partition, offset, key, value, header):
        n = int(value)
        assert key == str(n % 100) and header in (value, "kcat"), (key, value, header)
        self.records.append((partition, offset, n))

    def leave(self):
        """Commits what was read and leaves the group."""
        self.leaving.set()
        self.thread.join(30)
        assert not self.thread.is_alive() and self.error is None, self.error


class ConfluentMember(Member):
    def __init__(self, bootstrap, topic, group):
        self.consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
             "session.timeout.ms": 10000, "heartbeat.interval.ms": HEARTBEAT_MS}
        )
        self.consumer.subscribe([topic], on_revoke=lambda *_: self.commit())
        super().__init__()

    def commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() != confluent_kafka.KafkaError._NO_OFFSET:
                raise

    def run(self):
        while not self.leaving.is_set():
            for m in self.consumer.consume(500, 0.1):
                assert m.error() is None, m.error()
                header = dict(m.headers())["h"].decode()
                self.take(m.partition(), m.offset(), m.key().decode(), m.value().decode(), header)
        self.commit()
        self.consumer.close()


class KafkaPythonMember(Member):
    def __init__(self, bootstrap, topic, group):
        self.consumer = kafka.KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
            session_timeout_ms=10000, heartbeat_interval_ms=HEARTBEAT_MS, max_poll_records=500,
        )
        super().__init__()

    def run(self):
        while not self.leaving.is_set():
            # kafka-python 3.0 loses an assignment that arrives when a poll has just timed out. It asks for metadata
            # again after 100 ms, and then rejoins: no poll may end at that moment.
            for batch in self.consumer.poll(1000).values():
                for r in batch:
                    self.take(r.partition, r.offset, r.key.decode(), r.value.decode(), dict(r.headers)["h"].decode())
            if self.consumer.assignment():
                try:
                    self.consumer.commit()
                except kafka.errors.KafkaError:
                    pass  # a rebalance is under way; what was read is committed after it
        self.consumer.close()


class ProcessMember(Member):
    """One whose client is a process that prints what it reads."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        super().__init__()

    def run(self):
        for line in self.process.stdout:
            self.line(line)
        assert self.process.wait(20) == 0 or self.leaving.is_set(), self.process.returncode

    def leave(self):
        self.leaving.set()
        self.end()
        super().leave()


def java(verb, *args):
    classpath = f"{JAVA_JAR}:{JAVA_JAR.parent}/libs/*"
    return ["java", "-Xmx256m", "-cp", classpath, "norn.Roundtrip", verb, *map(str, args)]


class JavaMember(ProcessMember):
    def __init__(self, bootstrap, topic, group):
        super().__init__(java("member", bootstrap, topic, group, HEARTBEAT_MS))

    def line(self, line):
        partition, offset, key, value, header = line.split()
        self.take(int(partition), int(offset), key, value, header)

    def end(self):
        self.process.stdin.close()  # it commits and leaves
        assert self.process.wait(30) == 0, self.process.returncode


class KcatMember(ProcessMember):
    def __init__(self, bootstrap, topic, group):
        super().__init__(
            [KCAT, "-b", bootstrap, "-G", group, "-u", "-J", "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=10000",
             "-X", f"heartbeat.interval.ms={HEARTBEAT_MS}", "-X", "auto.commit.interval.ms=100", topic]
        )

    def line(self, line):
        r = json.loads(line)
        assert r["headers"] == ["h", "kcat"], r
        self.take(r["partition"], r["offset"], r["key"], r["payload"], "kcat")

    def end(self):
        time.sleep(0.3)  # past the auto-commit interval
        self.process.terminate()  # kcat leaves its group and commits on SIGTERM
        self.process.wait(20)


class Client:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def join(self, topic, group):
        return self.member(self.bootstrap, topic, group)


class Confluent(Client):
    name = "confluent-kafka"
    member = ConfluentMember

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


class KafkaPython(Client):
    name = "kafka-python"
    member = KafkaPythonMember

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


class Java(Client):
    name = "java"
    member = JavaMember

    def run(self, *args):
        done = subprocess.run(java(args[0], self.bootstrap, *args[1:]), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def create(self, topic, partitions):
        self.run("create", topic, partitions)

    def produce(self, topic, first, count, compression):
        self.run("produce", topic, first, count, compression)


class Kcat(Client):
    """kcat writes one set of headers a run, so its records carry the header "h" with the text `kcat`."""

    name = "kcat"
    member = KcatMember

    def create(self, topic, partitions):
        # kcat has no create; asking for the topic's metadata creates it with num.partitions.
        subprocess.run([KCAT, "-b", self.bootstrap, "-L", "-t", topic], check=True, capture_output=True, timeout=30)

    def produce(self, topic, first, count, compression):
        text = "".join(f"{n % 100}:{n}\n" for n in range(first, first + count))
        subprocess.run(
            [KCAT, "-b", self.bootstrap, "-P", "-t", topic, "-K:", "-z", compression, "-H", "h=kcat", "-X", "acks=all"],
            input=text, text=True, check=True, timeout=60, capture_output=True,
        )


CLIENTS = [Confluent, KafkaPython, Java, Kcat]
