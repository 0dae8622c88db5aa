"""Settings that would promise what the broker does not keep are refused over the wire, with the way out in the message."""

import struct

import pytest
from broker import Broker
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from test_bad_input import head, replies, sized, talk, text

INCREMENTAL_ALTER_CONFIGS, BROKER = 44, 4
SET, DELETE = AlterConfigOpType.SET, AlterConfigOpType.DELETE


@pytest.fixture(scope="module")
def broker_async(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("async"), flush__mode="async") as running:
        yield running
        assert "panicked" not in running.log(), running.log()


def alter(broker, resource, **edits):
    """Sets what has a value and deletes what has none."""
    entries = [
        ConfigEntry(name.replace("__", "."), value, incremental_operation=SET if value else DELETE)
        for name, value in edits.items()
    ]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (done,) = admin.incremental_alter_configs([ConfigResource(*resource, incremental_configs=entries)]).values()
    done.result(20)


def create(broker, name, **configs):
    configs = {name.replace("__", "."): value for name, value in configs.items()}
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (done,) = admin.create_topics([NewTopic(name, 1, 1, config=configs)]).values()
    done.result(20)
    return ConfigResource.Type.TOPIC, name


def set_for_all_brokers(broker, name, value):
    """As IncrementalAlterConfigs v0, since librdkafka has no way to name all brokers. The error code and message."""
    configs = struct.pack(">i", 1) + text(name) + b"\0" + text(value)
    body = struct.pack(">ib", 1, BROKER) + text("") + configs + b"\0"
    (reply,) = replies(talk(broker, sized(head(INCREMENTAL_ALTER_CONFIGS, 0) + body))[0])
    error, length = struct.unpack_from(">hh", reply, 12)
    return error, reply[16 : 16 + max(length, 0)].decode()


def refused(change, *args, **settings):
    with pytest.raises(KafkaException) as caught:
        change(*args, **settings)
    error = caught.value.args[0]
    assert error.code() == KafkaError.INVALID_CONFIG and "use flush.mode=sync" in error.str(), error


def test_an_interval_between_syncs_is_refused_where_nothing_is_synced(broker_async):
    broker = broker_async
    topic = create(broker, "plain")
    for name, broker_name, value in [
        ("flush__messages", "log.flush.interval.messages", "1"),
        ("flush__ms", "log.flush.interval.ms", "1000"),
    ]:
        refused(create, broker, "other", **{name: value})
        refused(alter, broker, topic, **{name: value})
        error, message = set_for_all_brokers(broker, broker_name, value)
        assert error == KafkaError.INVALID_CONFIG and "use flush.mode=sync" in message
        alter(broker, create(broker, f"with-{name}", flush__mode="sync"), **{name: value})
        refused(alter, broker, (ConfigResource.Type.TOPIC, f"with-{name}"), flush__mode=None)


def test_a_topic_that_asks_for_syncs_stays_synced_when_its_broker_is_started_with_async(tmp_path):
    with Broker(tmp_path) as broker:
        create(broker, "asks", flush__messages="1")
        broker.stop()
        broker.settings["flush.mode"] = "async"
        broker.start()
        assert "it is synced as with flush.mode=sync: flush.messages (1)" in broker.log()
