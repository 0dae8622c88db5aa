"""What administration clients ask beside topics and settings: each call ends with what Kafka answers on one node.

kafka-python asks most of it, librdkafka's admin client the rest. Where a value is a fact (sizes, producers, directories)
it is held against the files or against what was produced.
"""

import base64
import os
import pathlib
import shutil
import uuid

import confluent_kafka
import kafka
import kafka.admin
import pytest
from broker import Broker
from confluent_kafka import admin as rdk
from kafka import errors
from kafka.structs import TopicPartition

TOPIC = "orders"
RECORDS = 50


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker with a topic of three partitions; partition 0 has records of one idempotent producer."""
    directory = tmp_path_factory.mktemp("broker")
    dirs = f"{directory / 'one'},{directory / 'two'}"
    with Broker(directory, log__dirs=dirs) as running:
        admin = rdk.AdminClient({"bootstrap.servers": running.bootstrap})
        admin.create_topics([rdk.NewTopic(TOPIC, 3, 1)])[TOPIC].result(20)
        producer = confluent_kafka.Producer({"bootstrap.servers": running.bootstrap, "enable.idempotence": True})
        for n in range(RECORDS):
            producer.produce(TOPIC, partition=0, key=str(n), value="x" * 1000)
        assert producer.flush(20) == 0
        yield running
        assert "panicked" not in running.log(), running.log()


@pytest.fixture
def admin(broker):
    client = kafka.admin.KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    yield client
    client.close()


@pytest.fixture
def librdkafka(broker):
    return rdk.AdminClient({"bootstrap.servers": broker.bootstrap})


def sizes_on_disk(log_dir):
    """Of each partition in a data directory, the bytes of its segments."""
    sizes = {}
    for name in os.listdir(log_dir):
        if os.path.exists(os.path.join(log_dir, name, "partition.metadata")):
            files = [f for f in os.listdir(os.path.join(log_dir, name)) if f.endswith(".log")]
            sizes[name] = sum(os.path.getsize(os.path.join(log_dir, name, f)) for f in files)
    return sizes


def test_log_dirs_have_the_sizes_of_the_files_and_of_the_volume(broker, admin):
    [described] = admin.describe_log_dirs()
    dirs = described["log_dirs"]
    assert [d["log_dir"] for d in dirs] == broker.settings["log.dirs"].split(",")
    told_all = {}
    for d in dirs:
        told = {
            f"{t['name']}-{p['partition_index']}": p["partition_size"] for t in d["topics"] for p in t["partitions"]
        }
        assert d["error_code"] == 0
        assert told == sizes_on_disk(d["log_dir"])
        assert all(p["offset_lag"] == 0 for t in d["topics"] for p in t["partitions"])
        volume = shutil.disk_usage(d["log_dir"])
        assert d["total_bytes"] == volume.total
        assert abs(d["usable_bytes"] - volume.free) < 1 << 30
        told_all |= told
    assert sorted(told_all) == [f"{TOPIC}-{n}" for n in range(3)]
    assert told_all[f"{TOPIC}-0"] > RECORDS * 1000


def test_acls_are_refused_as_by_a_broker_without_an_authorizer(admin, librdkafka):
    pattern = kafka.admin.ResourcePattern(kafka.admin.ResourceType.TOPIC, TOPIC)
    acl = kafka.admin.ACL(
        "User:x", "*", kafka.admin.ACLOperation.READ, kafka.admin.ACLPermissionType.ALLOW, pattern
    )
    with pytest.raises(errors.SecurityDisabledError, match="No Authorizer is configured on the broker"):
        admin.describe_acls(acl)
    assert admin.create_acls([acl, acl])["failed"]
    assert [error for _, _, error in admin.delete_acls([acl])] == [errors.SecurityDisabledError]

    # librdkafka takes the refusal of a description for an empty one, and tells that of a creation.
    binding = rdk.AclBinding(
        rdk.ResourceType.TOPIC, TOPIC, rdk.ResourcePatternType.LITERAL, "User:x", "*",
        rdk.AclOperation.READ, rdk.AclPermissionType.ALLOW,
    )
    with pytest.raises(confluent_kafka.KafkaException, match="No Authorizer is configured.") as refused:
        librdkafka.create_acls([binding])[binding].result(20)
    assert refused.value.args[0].code() == confluent_kafka.KafkaError.SECURITY_DISABLED


def test_nobody_has_credentials(admin, librdkafka):
    assert admin.describe_user_scram_credentials() == {}
    unknown = admin.describe_user_scram_credentials(["x"])["x"]
    assert "Attempt to describe a user credential that does not exist: x" in str(unknown["error"])
    assert librdkafka.describe_user_scram_credentials().result(20) == {}


def test_replicas_are_where_they_are(admin):
    assert admin.list_partition_reassignments() == {}
    assert admin.list_partition_reassignments({"missing": [0]}) == {}
    altered = admin.alter_partition_reassignments(
        {
            TopicPartition(TOPIC, 0): [1],
            TopicPartition(TOPIC, 1): [1, 2],
            TopicPartition(TOPIC, 2): None,
            TopicPartition("missing", 0): [1],
        }
    )
    assert altered == {
        TopicPartition(TOPIC, 0): None,
        TopicPartition(TOPIC, 1): errors.InvalidReplicationAssignmentError,
        TopicPartition(TOPIC, 2): errors.NoReassignmentInProgressError,
        TopicPartition("missing", 0): errors.UnknownTopicOrPartitionError,
    }


def test_leaders_need_no_election(admin, librdkafka):
    response = admin.elect_leaders(0, {TOPIC: [0]})
    [result] = response.replica_election_results
    assert [(p.partition_id, p.error_code) for p in result.partition_result] == [(0, 84)]
    # This client names every partition when it is asked for all.
    everywhere = admin.elect_leaders(1).replica_election_results
    assert [p.error_code for t in everywhere for p in t.partition_result] == [84] * 3
    partition = confluent_kafka.TopicPartition(TOPIC, 1)
    elected = librdkafka.elect_leaders(confluent_kafka.ElectionType.PREFERRED, [partition]).result(20)
    [error] = elected.values()
    assert error.code() == confluent_kafka.KafkaError.ELECTION_NOT_NEEDED


def test_the_quorum_is_this_node(broker, admin):
    described = admin.describe_metadata_quorum()
    [topic] = described["topics"]
    [partition] = topic["partitions"]
    assert (topic["topic_name"], partition["error"], partition["leader_id"]) == ("__cluster_metadata", None, 1)
    [voter] = partition["current_voters"]
    assert voter["replica_id"] == 1 and partition["observers"] == []
    assert voter["log_end_offset"] >= partition["high_watermark"] > 1
    assert partition["leader_epoch"] >= 1 and voter["last_fetch_timestamp"] > 1_600_000_000_000
    # As meta.properties has it, in base64 of the 16 bytes.
    directory = broker.settings["log.dirs"].split(",")[0]
    properties = (pathlib.Path(directory) / "meta.properties").read_text()
    told = base64.urlsafe_b64encode(uuid.UUID(voter["replica_directory_id"]).bytes).decode().rstrip("=")
    assert f"directory.id={told}\n" in properties
    assert [node["node_id"] for node in described["nodes"]] == [1]


def test_producers_are_those_that_wrote(admin):
    first, second = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
    described = admin.describe_producers([first, second])
    [producer] = described[first].active_producers
    assert (producer.producer_epoch, producer.last_sequence) == (0, RECORDS - 1)
    assert producer.last_timestamp > 1_600_000_000_000
    assert producer.coordinator_epoch == -1
    assert described[second].active_producers == []


def test_topics_are_described_in_pages(admin):
    first = admin.describe_topic_partitions([TOPIC, "missing"], response_partition_limit=2)
    assert [(t["name"], t["error_code"], len(t["partitions"])) for t in first["topics"]] == [
        ("missing", 3, 0),
        (TOPIC, 0, 2),
    ]
    cursor = first["next_cursor"]
    assert (cursor["topic_name"], cursor["partition_index"]) == (TOPIC, 2)
    rest = admin.describe_topic_partitions([TOPIC], cursor={"topic_name": TOPIC, "partition_index": 2})
    [topic] = rest["topics"]
    [partition] = topic["partitions"]
    assert (partition["partition_index"], partition["leader_id"], partition["isr_nodes"]) == (2, 1, [1])
    assert not partition["eligible_leader_replicas"] and partition["offline_replicas"] == []
    assert topic["topic_authorized_operations"] == 3576 and rest["next_cursor"] is None


def test_topics_and_brokers_have_settings(admin):
    assert admin.list_config_resources(["TOPIC", "BROKER"]) == {"topic": [TOPIC], "broker": ["1"]}


def test_features_stay_as_they_are(admin):
    low, high = admin.describe_features()["metadata.version"]["finalized"]
    assert low == high
    admin.update_features({"metadata.version": high})
    with pytest.raises(errors.InvalidUpdateVersionError, match="does not support this feature"):
        admin.update_features({"flying": 1})
    with pytest.raises(errors.InvalidUpdateVersionError, match="downgrade"):
        admin.update_features({"metadata.version": high - 1})
