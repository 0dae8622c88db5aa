#!/usr/bin/env python3
"""What metadata costs as there is more of it: creation, a change of one topic, memory, and starts. See BENCHMARKS.md."""

import argparse
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from broker import BINARY, ROOT, Broker

PARTITIONS_PER_TOPIC = 3
# Kafka's limit is 10,000 partitions in one request.
TOPICS_PER_REQUEST = 1000
# What a broker needs for each partition, with the share that it keeps for connections and new segments.
DESCRIPTORS_EACH = 3
# So many are altered and so many created, one after the other.
CHANGES = 50
SECONDS = 600


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--partitions", type=numbers, default=[1000, 3000, 6000])
    parser.add_argument("--binary", type=Path, default=BINARY)
    parser.add_argument("--data", type=Path, default=ROOT / "target/bench", help="where brokers keep their data")
    parser.add_argument("--json", type=Path, default=ROOT / "target/bench.jsonl", help="results are added to this file")
    options = parser.parse_args()
    if not options.binary.exists():
        raise SystemExit(f"{options.binary} is missing: make build")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.data.mkdir(parents=True, exist_ok=True)
    raise_limit(10_000 + DESCRIPTORS_EACH * max(options.partitions))
    head = ["partitions", "create s", "CPU s", "change ms", "CPU ms", "create one ms", "KB each", "clean start s",
            "after kill s", "CPU s"]
    print("  ".join(f"{name:>13}" for name in head))
    with open(options.json, "a") as out:
        for partitions in options.partitions:
            with tempfile.TemporaryDirectory(prefix="norn-", dir=options.data) as data:
                measured = measure(options.binary, partitions, data)
            print("  ".join(f"{value:>13}" for value in measured.values()), flush=True)
            print(json.dumps({"what": "metadata", "binary": str(options.binary), **measured}), file=out, flush=True)


def raise_limit(descriptors):
    """Lets brokers that are started here open so many files. Above the hard limit that takes root."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def measure(binary, partitions, data):
    """All figures of one size. CPU is the broker's own."""
    broker, empty = start(binary, data)
    try:
        memory = resident_kb(broker.pid)
        # It would tell at length that the broker is gone once that is stopped.
        admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        topics = [f"t{number:06}" for number in range(partitions // PARTITIONS_PER_TOPIC)]
        created = timed(broker, lambda: create(admin, topics))
        each_kb = (resident_kb(broker.pid) - memory) / max(1, partitions)
        changed = [timed(broker, lambda: alter(admin, topics[at * 7 % len(topics)], at)) for at in range(CHANGES)]
        more = [timed(broker, lambda: create(admin, [f"one-{at}"])) for at in range(CHANGES)]
    finally:
        stop(broker, signal.SIGTERM)
    broker, clean = start(binary, data)
    stop(broker, signal.SIGKILL)
    broker, unclean = start(binary, data)
    stop(broker, signal.SIGTERM)
    return {
        "partitions": partitions,
        "create_s": round(created[0], 2),
        "create_cpu_s": round(created[1], 2),
        "change_ms": round(statistics.median(wall for wall, _ in changed) * 1000, 2),
        "change_cpu_ms": round(sum(cpu for _, cpu in changed) / CHANGES * 1000, 2),
        "create_one_ms": round(statistics.median(wall for wall, _ in more) * 1000, 2),
        "kb_each": round(each_kb, 1),
        "clean_start_s": round(clean[0], 2),
        "unclean_start_s": round(unclean[0], 2),
        "unclean_start_cpu_s": round(unclean[1], 2),
    }


def start(binary, data):
    """A broker that serves, and the wall and CPU seconds until then."""
    settings = {"listeners": "PLAINTEXT://127.0.0.1:0", "http.port": "-1", "log.dirs": f"{data}/data"}
    arguments = [argument for setting in settings.items() for argument in ("--set", "=".join(setting))]
    began = time.perf_counter()
    with open(f"{data}/log", "a") as log:
        process = subprocess.Popen([binary, "serve", *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
    for line in process.stdout:
        if line.startswith("kafka "):
            broker = Broker(line.split()[1], process.pid, process)
            return broker, (time.perf_counter() - began, broker.usage().cpu_s)
    raise SystemExit(f"{binary} did not start:\n{Path(f'{data}/log').read_text()}")


def stop(broker, how):
    broker._process.send_signal(how)
    broker._process.wait(SECONDS)


def resident_kb(pid):
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def timed(broker, act):
    """Wall and CPU seconds."""
    cpu, began = broker.usage().cpu_s, time.perf_counter()
    act()
    return time.perf_counter() - began, broker.usage().cpu_s - cpu


def create(admin, topics):
    for first in range(0, len(topics), TOPICS_PER_REQUEST):
        asked = [NewTopic(name, PARTITIONS_PER_TOPIC, 1) for name in topics[first:first + TOPICS_PER_REQUEST]]
        for future in admin.create_topics(asked, request_timeout=SECONDS, operation_timeout=SECONDS).values():
            future.result()


def alter(admin, topic, number):
    entry = ConfigEntry("retention.ms", str(10_000_000 + number), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource], request_timeout=SECONDS).values():
        future.result()


if __name__ == "__main__":
    main()
