"""Every client does the whole round: topic, records in each compression, a group of two with a rebalance, a restart."""

import pytest
from clients import CLIENTS, COMPRESSIONS

COUNT = 10_000
PARTITIONS = 4


def per_partition(records):
    by_partition = {}
    for partition, offset, n in records:
        by_partition.setdefault(partition, []).append((offset, n))
    return by_partition


@pytest.mark.parametrize("client_type", CLIENTS, ids=lambda c: c.name)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_records_of_every_compression_come_back_whole_and_in_order(broker_four_partitions, client_type, compression):
    broker = broker_four_partitions
    client = client_type(broker.bootstrap)
    topic = f"round-{client.name}-{compression}"
    client.create(topic, PARTITIONS)
    client.produce(topic, 0, COUNT, compression)
    records = client.consume(topic, f"group-{topic}", COUNT)
    assert {n for _, _, n in records} == set(range(COUNT))
    for found in per_partition(records).values():
        unique = sorted(set(found))
        assert [offset for offset, _ in unique] == list(range(len(unique)))
        by_key = {}
        for _, n in unique:
            assert by_key.get(n % 100, -1) < n, "a key's records are out of order"
            by_key[n % 100] = n


@pytest.mark.parametrize("client_type", CLIENTS, ids=lambda c: c.name)
def test_a_group_goes_on_where_it_was_after_a_restart(broker_four_partitions, client_type):
    broker = broker_four_partitions
    client = client_type(broker.bootstrap)
    topic = f"restart-{client.name}"
    client.create(topic, PARTITIONS)
    client.produce(topic, 0, COUNT, "none")
    first = client.consume(topic, "resuming-" + client.name, COUNT)
    assert broker.stop() == 0, broker.log()
    broker.start()
    client.produce(topic, COUNT, 1000, "lz4")
    second = client.consume(topic, "resuming-" + client.name, 1000, members=1)
    assert {n for _, _, n in first} == set(range(COUNT))
    assert sorted(n for _, _, n in second) == list(range(COUNT, COUNT + 1000)), "committed records were read again"
