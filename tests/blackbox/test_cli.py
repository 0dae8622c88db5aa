"""The command line as a person meets it: topics, groups, wrong settings, taken ports, probes, a clean end."""

import os
import re
import subprocess
import urllib.error
import urllib.request

import confluent_kafka
import pytest
from broker import NORN, Broker, free_port


def norn(*args, env=None, timeout=30):
    return subprocess.run([NORN, *args], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})


def done(*args):
    result = norn(*args)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(*args, env=None):
    result = norn(*args, env=env)
    assert result.returncode not in (0, 101, 134, -6), (result.returncode, result.stderr)
    assert "panicked" not in result.stderr
    return result.stderr


def ask(broker, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{broker.http}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_topics_are_created_listed_described_and_deleted(broker):
    at = ("-b", broker.bootstrap)
    done("topic", "create", "orders", "--partitions", "3", "--config", "retention.ms=3600000", *at)
    assert done("topic", "list", *at).split() == ["orders"]
    shown = done("topic", "describe", "orders", *at)
    assert "3 partitions" in shown and "retention.ms=3600000" in shown
    assert "orders" in refused("topic", "create", "orders", *at)
    done("topic", "create", "orders", "--if-not-exists", *at)
    assert "retention.mss" in refused("topic", "create", "other", "--config", "retention.mss=1", *at)
    done("topic", "delete", "orders", *at)
    assert done("topic", "list", *at).split() == []
    assert "orders" in refused("topic", "describe", "orders", *at)
    assert "orders" in refused("topic", "delete", "orders", *at)
    done("topic", "delete", "orders", "--if-exists", *at)
    done("topic", "create", "kept", *at)
    both = norn("topic", "describe", "kept", "gone", *at)
    assert both.returncode == 1 and "kept" in both.stdout and "gone" in both.stderr
    both = norn("topic", "delete", "gone", "kept", *at)
    assert both.returncode == 1 and "deleted topic kept" in both.stdout and "gone" in both.stderr


def test_a_group_is_listed_and_described_with_its_lag(broker):
    at = ("-b", broker.bootstrap)
    done("topic", "create", "orders", *at)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})
    for n in range(10):
        producer.produce("orders", str(n))
    assert producer.flush(20) == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "billing"})
    consumer.commit(offsets=[confluent_kafka.TopicPartition("orders", 0, 7)], asynchronous=False)
    assert "billing" in done("group", "list", *at)
    shown = done("group", "describe", "billing", *at)
    row = next(line for line in shown.splitlines() if "orders" in line)
    assert {"7", "10", "3"} <= set(row.split()), shown
    consumer.close()


def test_version_and_help_tell_a_person_what_there_is():
    assert re.match(r"norn \d+\.\d+\.\d+", done("version"))
    shown = done("--help")
    assert all(word in shown for word in ("serve", "topic", "group", "Examples"))
    for command in (["serve"], ["topic"], ["topic", "create"], ["group", "describe"]):
        assert "Usage" in done(*command, "--help")
    assert "listeners" in done("serve", "--help")


def test_a_broker_that_is_not_there_is_named():
    address = f"127.0.0.1:{free_port()}"
    assert address in refused("topic", "list", "-b", address)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("num.partition=3", ["num.partition", "num.partitions"]),
        ("num.partitions=many", ["num.partitions", "many"]),
        ("log.segment.bytes=-1", ["log.segment.bytes"]),
        ("flush.mode=sometimes", ["flush.mode", "sometimes", "sync"]),
        ("listeners=SSL://127.0.0.1:0", ["SSL"]),
        ("ssl.keystore.location=/k", ["ssl.keystore.location"]),
        ("authorizer.class.name=x", ["authorizer.class.name"]),
        ("num.partitions", ["num.partitions", "key=value"]),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path, setting, named):
    # --set comes after the defaults of the test, and a broker that starts after all would run into the time limit.
    said = refused("serve", "--set", f"log.dirs={tmp_path}/data", "--set", "http.port=0", "--set", setting)
    assert all(word in said for word in named), said
    assert not (tmp_path / "data").exists(), "nothing is touched before the settings are right"


def test_a_wrong_setting_of_a_file_is_named_with_its_line_and_of_a_variable_with_its_name(tmp_path):
    file = tmp_path / "server.properties"
    file.write_text(f"# Kafka's\nlog.dirs={tmp_path}/data\nlog.retention.hour=3\n")
    said = refused("serve", "--config", str(file))
    assert f"{file}:3" in said and "log.retention.hours" in said
    assert "NORN_NUM_PARTITION" in refused("serve", env={"NORN_NUM_PARTITION": "1", "NORN_LOG_DIRS": f"{tmp_path}/data"})


def test_a_taken_port_says_which_setting_to_change(tmp_path):
    with Broker(tmp_path / "one") as first:
        other = ["--set", f"log.dirs={tmp_path}/two"]
        said = refused("serve", *other, "--set", f"listeners=PLAINTEXT://{first.bootstrap}", "--set", "http.port=0")
        assert "listeners" in said and str(first.port) in said
        said = refused("serve", *other, "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", f"http.port={first.http}")
        assert "http.port" in said


def test_a_second_process_on_the_same_data_is_refused_and_the_first_goes_on(broker):
    data = broker.settings["log.dirs"]
    said = refused("serve", "--set", f"log.dirs={data}", "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "http.port=0")
    assert data in said
    done("topic", "create", "still", "-b", broker.bootstrap)


def test_port_zero_takes_a_free_port_and_prints_it(tmp_path):
    process = subprocess.Popen(
        [NORN, "serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "http.port=0", "--set", f"log.dirs={tmp_path}/data"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    try:
        name, address = process.stdout.readline().split()
        assert name == "kafka"
        done("topic", "list", "-b", address)
        assert process.stdout.readline().startswith("http 127.0.0.1:")
    finally:
        process.kill()
        process.wait(10)


def test_the_probes_answer(broker):
    assert ask(broker, "/healthz")[0] == 200
    assert ask(broker, "/readyz")[0] == 200
    status, metrics = ask(broker, "/metrics")
    assert status == 200
    samples = [line for line in metrics.splitlines() if line and not line.startswith("#")]
    assert len(samples) > 10
    for line in samples:
        assert re.match(r'^[a-zA-Z_:][\w:]*(\{.*\})? [-+\d.eInfNa]+$', line), line
    assert ask(broker, "/nothing")[0] == 404


def test_sigterm_leaves_cleanly_and_the_next_start_scans_no_log(broker):
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce("orders", "1")
    assert producer.flush(20) == 0
    del producer
    assert broker.stop() == 0, broker.log()
    assert "clean shutdown" in broker.log()
    broker.start()
    assert "no log is scanned" in broker.log()
    broker.kill()
    broker.start()
    assert "no clean shutdown" in broker.log() and "no log is scanned" not in broker.log()


def test_a_start_that_is_refused_for_one_directory_costs_the_others_nothing(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    for data in (own, other):
        broker = Broker(tmp_path / f"broker-of-{data.name}", log__dirs=data).start()
        assert broker.stop() == 0, broker.log()
    free = ["--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "http.port=0"]
    assert str(other) in refused("serve", "--set", f"log.dirs={own},{other}", *free)
    broker = Broker(tmp_path / "again", log__dirs=own).start()
    assert "no log is scanned" in broker.log()
    assert broker.stop() == 0, broker.log()


def test_the_metadata_log_cannot_be_created_as_a_topic(broker):
    at = ("-b", broker.bootstrap)
    assert "__cluster_metadata" in refused("topic", "create", "__cluster_metadata", *at)
    assert done("topic", "list", *at).split() == []
