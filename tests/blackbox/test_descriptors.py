"""A broker that runs out of file descriptors: what is healthy stays so, and who reads the log learns of the limit."""

import os
import pathlib
import resource
import socket
import subprocess
import threading
import time
import urllib.request

import confluent_kafka
from broker import NORN
from load import create_topics

SEGMENT = 1 << 20


def taken(broker):
    return len(os.listdir(f"/proc/{broker.process.pid}/fd"))


def limit(broker, descriptors):
    """As `ulimit -n` before the start would set it."""
    _, hard = resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (min(descriptors, hard), hard))


def segments(broker, topic):
    return len(list(pathlib.Path(broker.settings["log.dirs"], f"{topic}-0").glob("*.log")))


def health(broker):
    with urllib.request.urlopen(f"http://127.0.0.1:{broker.http}/healthz", timeout=10) as answer:
        return answer.read().decode()


class Writer:
    """A producer with a connection of its own from before descriptors ran short."""

    def __init__(self, broker, topic):
        self.topic, self.errors = topic, []
        norn = [NORN, "topic", "create", topic, "-p", "1", "-c", f"segment.bytes={SEGMENT}", "-b", broker.bootstrap]
        subprocess.run(norn, check=True, timeout=30, capture_output=True)
        self.producer = confluent_kafka.Producer(
            {"bootstrap.servers": broker.bootstrap, "acks": "all", "message.timeout.ms": 20000, "linger.ms": 5, "log_level": 0}
        )
        self.write(1)
        assert not self.errors, self.errors

    def write(self, count):
        for _ in range(count):
            self.producer.produce(self.topic, b"x" * 1000, on_delivery=self.delivered)
            self.producer.poll(0)
        self.producer.flush(30)

    def delivered(self, error, _message):
        if error is not None:
            self.errors.append(str(error))


def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path, broker):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    broker.stop()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        broker.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert f"up to {hard} open files" in broker.log()


def test_idle_connections_leave_a_log_the_descriptors_for_its_next_segments(broker):
    writer = Writer(broker, "rolls")
    limit(broker, 160)
    ports = 140 * [broker.port] + 30 * [broker.http]
    idle = [socket.create_connection(("127.0.0.1", port), 5) for port in ports]
    deadline = time.monotonic() + 20
    while "listener: connections could not be accepted: " not in broker.log():
        assert time.monotonic() < deadline, (taken(broker), broker.log())
        time.sleep(0.05)
    time.sleep(1)
    assert taken(broker) < 160
    writer.write(5 * SEGMENT // 1000)
    assert not writer.errors, (writer.errors[:3], broker.log())
    assert segments(broker, "rolls") >= 5
    assert "(ulimit -n)" in broker.log() and "offline" not in broker.log()
    assert broker.log().count("connections could not be accepted: ") < 5, "each refusal is a line"
    for connection in idle:
        connection.close()
    deadline = time.monotonic() + 20
    while not broker.answers():
        assert time.monotonic() < deadline, broker.log()
    assert health(broker) == "ok\n"


def test_a_log_waits_for_a_descriptor_for_its_next_segment(broker):
    writer = Writer(broker, "waits")
    limit(broker, taken(broker) - 1)
    writing = threading.Thread(target=writer.write, args=[2 * SEGMENT // 1000], daemon=True)
    writing.start()
    time.sleep(2)
    assert writing.is_alive() and "waiting to open files" in broker.log(), broker.log()
    limit(broker, 1024)
    writing.join(30)
    assert not writing.is_alive() and not writer.errors, (writer.errors[:3], broker.log())
    assert segments(broker, "waits") >= 2
    assert "offline" not in broker.log()


def test_more_partitions_than_there_are_descriptors_are_refused_with_the_reason(broker):
    create_topics(broker.bootstrap, "small")
    limit(broker, 300)
    create = [NORN, "topic", "create", "wide", "-p", "500", "-b", broker.bootstrap]
    refused = subprocess.run(create, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1 and "(ulimit -n) leaves room for" in refused.stderr, refused
    assert "created" not in refused.stdout
    listed = subprocess.run([NORN, "topic", "list", "-b", broker.bootstrap], capture_output=True, text=True, timeout=30)
    assert listed.stdout.split() == ["small"]
    create = [NORN, "topic", "create", "fits", "-p", "100", "-b", broker.bootstrap]
    assert subprocess.run(create, capture_output=True, timeout=30).returncode == 0
    assert "partitions are not created: " in broker.log() and "offline" not in broker.log()


def test_what_may_be_created_at_once_is_open_and_served_after_the_next_start(tmp_path, monkeypatch, broker):
    broker.stop()
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 300\nexec {NORN} "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setattr("broker.NORN", limited)
    broker.start()
    create = lambda topic, partitions: subprocess.Popen(
        [NORN, "topic", "create", topic, "-p", str(partitions), "-b", broker.bootstrap], stderr=subprocess.DEVNULL
    )
    wide = [create(f"wide-{n}", 50) for n in range(6)]
    assert sorted(creation.wait(30) for creation in wide) == [0, 0, 1, 1, 1, 1]
    narrow = [f"narrow-{n}" for n in range(10)]
    assert {create(topic, 10).wait(30) for topic in narrow} == {0, 1}, "until nothing more may be created"
    assert "offline" not in broker.log()
    assert broker.stop() == 0
    broker.start()
    assert "offline" not in broker.log() and "could not be accepted" not in broker.log()


def test_many_logs_close_in_order_with_few_descriptors_left(broker):
    create = [NORN, "topic", "create", "many", "-p", "200", "-b", broker.bootstrap]
    subprocess.run(create, check=True, capture_output=True, timeout=30)
    limit(broker, taken(broker) + 20)
    assert broker.stop() == 0, broker.log()
    assert "clean shutdown" in broker.log()


def test_a_start_with_more_logs_than_descriptors_is_refused_with_the_reason(broker):
    create = [NORN, "topic", "create", "many", "-p", "100", "-b", broker.bootstrap]
    subprocess.run(create, check=True, capture_output=True, timeout=30)
    broker.stop()
    args = [arg for key, value in broker.settings.items() for arg in ["--set", f"{key}={value}"]]
    limits = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    refused = subprocess.run([NORN, "serve", *args], capture_output=True, text=True, timeout=30, preexec_fn=limits)
    assert refused.returncode == 1 and "logs of 100 partitions" in refused.stderr and "(ulimit -n)" in refused.stderr, refused


def test_a_start_with_more_segments_than_descriptors_is_refused_with_the_reason(broker):
    writer = Writer(broker, "rolls")
    writer.write(3 * SEGMENT // 1000)
    assert not writer.errors and segments(broker, "rolls") >= 3
    broker.stop()
    # As many small segments as retention would leave; the last is the newest.
    log = pathlib.Path(broker.settings["log.dirs"], "rolls-0")
    for n in range(100):
        (log / f"{10**15 + n:020}.log").touch()
    args = [arg for key, value in broker.settings.items() for arg in ["--set", f"{key}={value}"]]
    limits = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    refused = subprocess.run([NORN, "serve", *args], capture_output=True, text=True, timeout=30, preexec_fn=limits)
    assert refused.returncode == 1 and "logs of 1 partitions with 10" in refused.stderr, refused
    assert "(ulimit -n)" in refused.stderr, refused
