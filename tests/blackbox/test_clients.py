"""Every client does the whole round: topic, records in each compression, a group of two with a rebalance, a restart."""

import time

import pytest
from clients import CLIENTS, COMPRESSIONS
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

COUNT = 10_000
PARTITIONS = 4


def await_that(what, holds, members, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        for member in members:
            assert member.error is None, member.error
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; read {[len(m.records) for m in members]}"
        time.sleep(0.01)


def numbers(members):
    return {n for member in members for _, _, n in list(member.records)}


def shares(bootstrap, group):
    """Of each member of a group, how many partitions it has."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    described = admin.describe_consumer_groups([group])[group].result(20)
    return [len(member.assignment.topic_partitions) for member in described.members]


def read_by_two(client, topic, group, first, count, produce_the_rest):
    """Reads the numbers from `first` on, half of them by one member and what `produce_the_rest` adds by two."""
    half, all_of_it = set(range(first, first + count // 2)), set(range(first, first + count))
    members = [client.join(topic, group)]
    await_that("the first half is read", lambda: half <= numbers(members), members)
    members.append(client.join(topic, group))
    even = [PARTITIONS // 2] * 2
    await_that("both members have their share", lambda: shares(client.bootstrap, group) == even, members)
    before = [len(member.records) for member in members]
    produce_the_rest()
    await_that("all is read", lambda: all_of_it <= numbers(members), members)
    assert all(len(member.records) > then for member, then in zip(members, before)), "one member had nothing to read"
    for member in members:
        member.leave()
    return [record for member in members for record in member.records]


def assert_whole_and_in_order(records, count):
    assert {n for _, _, n in records} == set(range(count))
    for partition in range(PARTITIONS):
        found = sorted({(offset, n) for p, offset, n in records if p == partition})
        assert [offset for offset, _ in found] == list(range(len(found)))
        by_key = {}
        for _, n in found:
            assert by_key.get(n % 100, -1) < n, "a key's records are out of order"
            by_key[n % 100] = n


@pytest.mark.parametrize("client_type", CLIENTS, ids=lambda c: c.name)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_records_of_every_compression_are_read_by_a_group_of_two(broker_four_partitions, client_type, compression):
    client = client_type(broker_four_partitions.bootstrap)
    topic, half = f"round-{client.name}-{compression}", COUNT // 2
    client.create(topic, PARTITIONS)
    client.produce(topic, 0, half, compression)
    rest = lambda: client.produce(topic, half, half, compression)
    assert_whole_and_in_order(read_by_two(client, topic, f"group-{topic}", 0, COUNT, rest), COUNT)


@pytest.mark.parametrize("client_type", CLIENTS, ids=lambda c: c.name)
def test_a_group_goes_on_where_it_was_after_a_restart(broker_four_partitions, client_type):
    broker = broker_four_partitions
    client = client_type(broker.bootstrap)
    topic, group, half = f"restart-{client.name}", f"resuming-{client.name}", COUNT // 2
    client.create(topic, PARTITIONS)
    client.produce(topic, 0, half, "none")
    before = read_by_two(client, topic, group, 0, COUNT, lambda: client.produce(topic, half, half, "none"))
    assert broker.stop() == 0, broker.log()
    broker.start()
    client.produce(topic, COUNT, 500, "lz4")
    after = read_by_two(client, topic, group, COUNT, 1000, lambda: client.produce(topic, COUNT + 500, 500, "lz4"))
    assert_whole_and_in_order(before + after, COUNT + 1000)
    assert min(n for _, _, n in after) == COUNT, "committed records were read again"


def test_of_a_refused_batch_each_record_has_its_own_error(broker_four_partitions):
    """KIP-467: the records that the broker names, and those that were only in the same batch."""
    bootstrap = broker_four_partitions.bootstrap
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic("keyed", 1, config={"cleanup.policy": "compact"})])["keyed"].result(20)
    producer, errors = Producer({"bootstrap.servers": bootstrap, "linger.ms": 500, "compression.type": "lz4"}), {}
    for n, key in enumerate([b"k", None, b"k", None]):
        told = lambda error, _, n=n: errors.__setitem__(n, error and error.name())
        producer.produce("keyed", b"v", key, partition=0, on_delivery=told)
    assert producer.flush(20) == 0
    assert [errors[n] for n in range(4)] == ["_INVALID_DIFFERENT_RECORD", "INVALID_RECORD"] * 2
