"""Data directories whose order changes, that come and go, or that are full: what is acknowledged stays, whatever is started."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import confluent_kafka
import pytest
from broker import Broker
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def create(broker, name, partitions=1):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(name, partitions)])[name].result(20)


def delete(broker, name):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.delete_topics([name])[name].result(20)


def produce(broker, topic, count, partition=0):
    errors = []
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "log_level": 0})
    for n in range(count):
        producer.produce(topic, str(n), partition=partition, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0 and errors == [None] * count, errors


def consumer(broker, group="g"):
    return confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "log_level": 0,
                                     "enable.auto.commit": False})


def end(broker, topic, partition=0):
    reader = consumer(broker)
    try:
        return reader.get_watermark_offsets(TopicPartition(topic, partition), 20)[1]
    finally:
        reader.close()


def stop(broker):
    assert broker.stop() == 0, broker.log()


def refused(broker):
    """Starts it; what it said when it ended at once."""
    broker.launch()
    assert broker.process.wait(10) != 0
    return broker.log()


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def with_dirs(tmp_path, *dirs):
    broker = Broker(tmp_path / "broker")
    order(broker, *dirs)
    return broker


def order(broker, *dirs):
    broker.settings["log.dirs"] = ",".join(map(str, dirs))


def test_metadata_in_another_directory_than_the_first_refuse_the_start_and_cost_nothing(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    broker = with_dirs(tmp_path, one, two)
    broker.start()
    create(broker, "orders", 2)
    produce(broker, "orders", 100)
    stop(broker)
    logs = names(one), names(two)
    order(broker, two, one)
    said = refused(broker)
    assert f"{one}/__cluster_metadata" in said and f"put {one} first" in said
    assert (names(one), names(two)) == logs
    order(broker, one, two)
    broker.start()
    assert broker.log().count("no log is scanned") == 2, broker.log()
    assert end(broker, "orders") == 100
    stop(broker)


def test_a_start_that_another_clusters_id_refuses_costs_nothing(tmp_path):
    directory = tmp_path / "one"
    broker = with_dirs(tmp_path, directory)
    broker.start()
    create(broker, "orders")
    produce(broker, "orders", 100)
    stop(broker)
    properties = directory / "meta.properties"
    ours = properties.read_text()
    properties.write_text(re.sub("(?m)^cluster.id=.*$", "cluster.id=anotherAnotherAnothe", ours))
    assert "anotherAnotherAnothe" in refused(broker)
    properties.write_text(ours)
    broker.start()
    assert "no log is scanned" in broker.log(), broker.log()
    assert end(broker, "orders") == 100
    stop(broker)


def test_two_directories_with_metadata_refuse_the_start(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    broker = with_dirs(tmp_path, one, two)
    broker.start()
    stop(broker)
    order(broker, two)
    broker.start()
    create(broker, "orders")
    produce(broker, "orders", 100)
    stop(broker)
    for dirs in ([one, two], [two, one]):
        order(broker, *dirs)
        said = refused(broker)
        assert "__cluster_metadata" in said and str(one) in said and str(two) in said
    assert "orders-0" in names(two)
    shutil.rmtree(one / "__cluster_metadata")
    broker.start()
    assert end(broker, "orders") == 100
    stop(broker)


def test_a_log_that_the_metadata_do_not_know_is_set_aside_and_makes_room(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    name = "o" * 249
    broker = with_dirs(tmp_path, one, two)
    broker.start()
    stop(broker)
    order(broker, two)
    broker.start()
    create(broker, name)
    produce(broker, name, 100)
    stop(broker)
    records = (two / f"{name}-0" / "00000000000000000000.log").read_bytes()
    # The operator takes the wrong metadata away.
    shutil.rmtree(two / "__cluster_metadata")
    order(broker, one, two)
    broker.start()
    [stray] = [path for path in two.iterdir() if path.name.endswith("-stray")]
    assert re.fullmatch(r"o+-0\.[0-9a-f]{32}-stray", stray.name) and len(stray.name) <= 255
    assert (stray / "00000000000000000000.log").read_bytes()[: len(records)] == records
    assert told(broker, "WARN", stray) == 1
    create(broker, name, 2)
    produce(broker, name, 3)
    assert end(broker, name) == 3
    for ending in (stop, Broker.kill):
        ending(broker)
        broker.start()
        assert str(stray) not in broker.log(), "it is told once"
        assert end(broker, name) == 3 and stray.is_dir()
    stop(broker)


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[20] ^= 4
    file.write_bytes(content)


def told(broker, *words):
    """How many of its warnings and errors have all the words. It does not wait for its lines to be written."""
    deadline = time.monotonic() + 5
    while True:
        lines = [line for line in broker.log().splitlines() if "WARN" in line or "ERROR" in line]
        found = sum(all(str(word) in line for word in words) for line in lines)
        if found or not words or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def logs(directory, topic):
    return [name for name in names(directory) if name.startswith(topic)]


def strays(directory, log):
    return [path for path in directory.iterdir() if re.fullmatch(rf"{log}\.[0-9a-f]{{32}}-stray", path.name)]


def test_a_log_whose_directory_does_not_tell_its_topic_is_found_wherever_it_is(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    broker = with_dirs(tmp_path, one, two)
    broker.start()
    create(broker, "orders", 8)
    for partition in range(8):
        produce(broker, "orders", 10 + partition, partition)
    stop(broker)
    before = logs(one, "orders"), logs(two, "orders")
    damaged = [path for path in sorted(tmp_path.glob("*/orders-*/partition.metadata")) if path.parent.name < "orders-6"]
    for file in damaged:
        flip_a_bit(file)
    broker.start()
    assert [end(broker, "orders", partition) for partition in range(8)] == [10 + n for n in range(8)]
    assert [told(broker, file) for file in damaged] == [1] * 6, broker.log()
    produce(broker, "orders", 1, 0)
    broker.kill()
    broker.start()
    assert end(broker, "orders", 0) == 11 and told(broker) == 0, broker.log()
    assert (logs(one, "orders"), logs(two, "orders")) == before
    delete(broker, "orders")
    create(broker, "orders", 8)
    assert [end(broker, "orders", partition) for partition in range(8)] == [0] * 8
    assert not strays(one, "orders-.") + strays(two, "orders-.")
    stop(broker)


def test_a_new_topic_takes_no_records_over_that_lie_under_its_name(tmp_path):
    data = tmp_path / "data"
    broker = with_dirs(tmp_path, data)
    broker.start()
    create(broker, "orders")
    for _ in range(2):
        produce(broker, "orders", 10)
        stop(broker)
        broker.start()
    # As copied, without and with a damaged word of whose they are; and what a creation leaves that is cut off.
    for name in "left-0", "left-1":
        shutil.copytree(data / "orders-0", data / name)
    (data / "left-0" / "partition.metadata").unlink()
    flip_a_bit(data / "left-1" / "partition.metadata")
    (data / "left-2").mkdir()
    (data / "left-2" / "00000000000000000000.log").touch()
    records = (data / "orders-0" / "00000000000000000000.log").read_bytes()
    create(broker, "left", 3)
    assert [end(broker, "left", partition) for partition in range(3)] == [0] * 3
    for log in "left-0", "left-1":
        [stray] = strays(data, log)
        assert (stray / "00000000000000000000.log").read_bytes() == records and told(broker, stray) == 1
    assert not strays(data, "left-2")
    stop(broker)
    # A start finds them before anybody asks for their names.
    shutil.copytree(data / "orders-0", data / "right-0")
    (data / "right-0" / "partition.metadata").unlink()
    (data / "right-1").mkdir()
    broker.start()
    [stray] = strays(data, "right-0")
    assert told(broker, stray) == 1 and told(broker) == 1, broker.log()
    create(broker, "right", 2)
    assert [end(broker, name) for name in ("right", "orders")] == [0, 20]
    stop(broker)


def test_a_directory_whose_logs_cannot_be_told_is_offline_and_costs_no_other(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    broker = with_dirs(tmp_path, one, two)
    broker.start()
    create(broker, "orders", 4)
    for partition in range(4):
        produce(broker, "orders", 10, partition)
    stop(broker)
    before = logs(one, "orders"), logs(two, "orders")
    here = [n for n in range(4) if f"orders-{n}" in before[0]]
    there = [n for n in range(4) if n not in here]
    # It is there and cannot be read.
    file = two / f"orders-{there[0]}" / "partition.metadata"
    content = file.read_bytes()
    file.unlink()
    file.mkdir()
    broker.start()
    assert told(broker, two, "the others go on") == 1, broker.log()
    assert [end(broker, "orders", n) for n in here] == [10] * len(here)
    for n in there:
        with pytest.raises(confluent_kafka.KafkaException):
            consumer(broker).get_watermark_offsets(TopicPartition("orders", n), 2)
    stop(broker)
    assert (logs(one, "orders"), logs(two, "orders")) == before
    file.rmdir()
    file.write_bytes(content)
    broker.start()
    assert [end(broker, "orders", n) for n in range(4)] == [10] * 4
    stop(broker)


def test_a_deleted_topics_files_go_and_one_of_its_name_begins_anew(tmp_path):
    data = tmp_path / "data"
    broker = with_dirs(tmp_path, data)
    broker.start()
    for round in range(5):
        create(broker, "orders")
        produce(broker, "orders", 10 + round)
        assert end(broker, "orders") == 10 + round
        delete(broker, "orders")
    # A deletion that was answered is one at the next start, too.
    stop(broker)
    assert "orders-0" not in names(data)
    # Cut off after the rename.
    left = data / "orders-0.0123456789abcdef0123456789abcdef-delete"
    left.mkdir(exist_ok=True)
    (left / "00000000000000000000.log").write_bytes(b"x" * 100)
    broker.start()
    deadline = time.monotonic() + 10
    while any("orders" in name for name in names(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [name for name in names(data) if "orders" in name]
    stop(broker)


def first_answers(broker, topic, partitions):
    """The error codes of one ListOffsets v1, which a client would hide by asking again."""
    def text(value):
        return struct.pack(">h", len(value)) + value.encode()

    asked = b"".join(struct.pack(">iq", partition, -1) for partition in range(partitions))
    body = struct.pack(">hhi", 2, 1, 7) + text("raw") + struct.pack(">ii", -1, 1) + text(topic)
    body += struct.pack(">i", partitions) + asked
    with socket.create_connection(("127.0.0.1", broker.port), 10) as s:
        s.sendall(struct.pack(">i", len(body)) + body)
        answers = s.makefile("rb")
        (length,) = struct.unpack(">i", answers.read(4))
        answer = answers.read(length)
    at = 4 + 4 + 2 + len(topic) + 4
    return [error for _, error, _, _ in struct.iter_unpack(">ihqq", answer[at:])]


def test_a_new_topic_and_a_start_find_every_partition_ready(tmp_path):
    broker = with_dirs(tmp_path, tmp_path / "data")
    broker.start()
    for n in range(20):
        create(broker, f"t{n}", 30)
        assert first_answers(broker, f"t{n}", 30) == [0] * 30
    for ending in (stop, Broker.kill):
        ending(broker)
        broker.start()
        for n in reversed(range(20)):
            assert first_answers(broker, f"t{n}", 30) == [0] * 30
    stop(broker)


def test_a_new_topic_does_not_inherit_offsets_of_one_deleted_while_their_log_was_away(tmp_path):
    one, two, away = tmp_path / "one", tmp_path / "two", tmp_path / "away"
    broker = with_dirs(tmp_path, one, two)
    broker.settings["offsets.topic.num.partitions"] = "1"
    broker.start()
    create(broker, "kept")
    create(broker, "orders")
    create(broker, "filler")
    reader = consumer(broker)
    reader.commit(offsets=[TopicPartition("orders", 0, 7), TopicPartition("kept", 0, 5)], asynchronous=False)
    reader.close()
    assert "__consumer_offsets-0" in names(two), (names(one), names(two))
    stop(broker)
    two.rename(away)
    order(broker, one)
    broker.start()
    delete(broker, "orders")
    stop(broker)
    away.rename(two)
    order(broker, one, two)
    broker.start()
    create(broker, "orders")
    reader = consumer(broker)
    committed = reader.committed([TopicPartition("orders", 0), TopicPartition("kept", 0)], 20)
    assert [at.offset for at in committed] == [confluent_kafka.OFFSET_INVALID, 5]
    reader.close()
    stop(broker)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,nr_inodes=64", "norn-test", str(disk)])
    if mounted.returncode != 0:
        # Not every machine lets root mount. The simulator's disks fill up on all of them.
        print("NOT TESTED: a small disk cannot be mounted here")
        yield None
        return
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_with_bytes(disk):
    with open(disk / "filler", "wb") as filler:
        filler.write(bytes(24 << 20))


def fill_with_names(disk):
    with pytest.raises(OSError, match="No space left"):
        for n in range(100):
            (disk / f"filler{n}").touch()


@pytest.mark.parametrize("fill", [fill_with_bytes, fill_with_names])
def test_a_new_partition_is_placed_where_there_is_room(tmp_path, small_disk, fill):
    if small_disk is None:
        return
    roomy = tmp_path / "roomy"
    broker = with_dirs(tmp_path, roomy, small_disk)
    broker.settings |= {"internal.journal.file.bytes": str(1 << 20), "offsets.topic.num.partitions": "1"}
    broker.start()
    create(broker, "before", 4)
    assert "before-0" in names(roomy) and "before-1" in names(small_disk)
    fill(small_disk)
    create(broker, "orders", 4)
    assert [name for name in names(roomy) if "orders" in name] == [f"orders-{n}" for n in range(4)]
    assert not [name for name in names(small_disk) if "orders" in name]
    for partition in range(4):
        produce(broker, "orders", 10, partition)
    broker.kill()
    # Full, it has no room for the mark of a clean shutdown either.
    for filler in small_disk.glob("filler*"):
        filler.unlink()
    broker.start()
    assert [end(broker, "orders", partition) for partition in range(4)] == [10] * 4
    stop(broker)


def wait_until_gone(directory, topic):
    deadline = time.monotonic() + 20
    while any(topic in name for name in names(directory)):
        assert time.monotonic() < deadline, names(directory)
        time.sleep(0.05)


def test_a_deleted_topics_files_go_although_its_log_could_not_be_opened(tmp_path):
    data = tmp_path / "data"
    broker = with_dirs(tmp_path, data)
    broker.start()
    create(broker, "orders", 2)
    produce(broker, "orders", 10, 1)
    stop(broker)
    segment = data / "orders-0" / "00000000000000000000.log"
    segment.unlink()
    segment.mkdir()
    # A new one, whose creation fails.
    (data / "payments-0" / segment.name).mkdir(parents=True)
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    created = admin.create_topics([NewTopic("payments", 1)])
    deadline = time.monotonic() + 20
    while "payments-0" not in broker.log():
        assert time.monotonic() < deadline, broker.log()
        time.sleep(0.05)
    assert broker.log().count("the log cannot be opened") == 2, broker.log()
    delete(broker, "orders")
    delete(broker, "payments")
    assert created["payments"].exception(20) is None
    wait_until_gone(data, "orders")
    wait_until_gone(data, "payments")
    create(broker, "orders")
    produce(broker, "orders", 3)
    assert end(broker, "orders") == 3
    stop(broker)


def test_a_topic_that_is_deleted_while_its_log_opens_is_gone_after_a_stop(tmp_path):
    data = tmp_path / "data"
    broker = with_dirs(tmp_path, data)
    broker.start()
    create(broker, "kept")
    produce(broker, "kept", 10)
    # Opening the log waits for one who writes into this.
    slow = data / "orders-0" / "leader-epoch-checkpoint"
    slow.parent.mkdir()
    os.mkfifo(slow)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    created = admin.create_topics([NewTopic("orders", 1)], operation_timeout=0.5)
    deadline = time.monotonic() + 20
    while not (slow.parent / "partition.metadata").exists():
        assert time.monotonic() < deadline, broker.log()
        time.sleep(0.05)
    created["orders"].exception(20)
    delete(broker, "orders")
    broker.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert broker.alive()
    os.close(os.open(slow, os.O_WRONLY))
    assert broker.process.wait(20) == 0, broker.log()
    assert "orders-0" not in names(data)
    broker.start()
    wait_until_gone(data, "orders")
    assert "stray" not in broker.log() and end(broker, "kept") == 10
    stop(broker)
