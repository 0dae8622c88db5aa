#!/usr/bin/env python3
"""Throughput, latency, CPU and memory of a broker, as its clients see them. See BENCHMARKS.md."""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
import uuid
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import load
from broker import BINARY, ROOT, Broker
from slow import SlowReaders

# Client processes need a moment before all of them are connected.
HEAD_START_S = 2.0
MB = 1_000_000
# Records of a run that sends one to each partition at a time.
VOLLEY_RECORDS = 2000


def main():
    options = arguments()
    if options.bootstrap is None and not BINARY.exists():
        raise SystemExit(f"{BINARY} is missing: make build")
    # So that a broker that was started here is stopped by whatever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results = []
    with open(options.json, "a") as out:
        for flush_mode in [None] if options.bootstrap else options.flush:
            own = options.bootstrap is None
            broker = Broker.start(flush_mode, options.data) if own else Broker(options.bootstrap, options.pid)
            try:
                for result in Run(broker, flush_mode or "as it runs", options).all():
                    print(json.dumps(result), file=out, flush=True)
                    show_progress(result)
                    results.append(result)
            finally:
                broker.stop()
    table(results)
    if any(result.get("failed") for result in results):
        raise SystemExit("not everything that was sent was acknowledged, or not all of it was read")


def arguments():
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", help="measure the broker here; without it, target/release/norn is started")
    parser.add_argument("--pid", type=int, help="its process, for CPU and memory")
    parser.add_argument("--flush", type=lambda text: text.split(","), default=["async", "sync"])
    parser.add_argument("--partitions", type=numbers, default=[1, 16, 128])
    parser.add_argument("--record-bytes", type=int, default=1024)
    parser.add_argument("--mb", type=int, default=1000, help="bytes per throughput run, in millions")
    parser.add_argument("--processes", type=int, default=2, help="client processes of a throughput run")
    parser.add_argument("--seconds", type=int, default=10, help="length of the latency run")
    parser.add_argument("--data", type=Path, default=ROOT / "target/bench", help="where brokers keep their data")
    parser.add_argument("--json", type=Path, default=ROOT / "target/bench.jsonl", help="results are added to this file")
    return parser.parse_args()


class Run:
    """All measurements of one broker."""

    def __init__(self, broker, name, options):
        self.broker = broker
        self.name = name
        self.options = options
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        self.asker = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "bench"})

    def all(self):
        for partitions in self.options.partitions:
            topic = self.topic(partitions)
            yield self.throughput("produce", partitions, self.produce(topic, partitions))
            yield self.throughput("consume", partitions, self.consume(topic, partitions))
            self.drop(topic)
        large = self.topic(1)
        load.produce(self.broker.bootstrap, large, 1, 16 << 10, 4000, 0)
        yield from self.trickle("200/s")
        with SlowReaders(self.broker.bootstrap, large):
            yield from self.trickle("200/s beside slow readers")
        self.drop(large)
        for partitions in self.options.partitions:
            topic = self.topic(partitions)
            count = max(20, VOLLEY_RECORDS // max(partitions, 8))
            acked, usage = self.measured(lambda: load.volleys(
                self.broker.bootstrap, topic, partitions, self.options.record_bytes, count))
            yield self.latency("one to each, ack", partitions, acked, usage)
            self.drop(topic)

    def trickle(self, what):
        topic = self.topic(1)
        (acked, seen), usage = self.measured(lambda: load.trickle(
            self.broker.bootstrap, topic, self.options.record_bytes, 200, self.options.seconds))
        yield self.latency(f"{what}, ack", 1, acked, usage)
        yield self.latency(f"{what}, end to end", 1, seen, usage)
        self.drop(topic)

    def produce(self, topic, partitions):
        each = self.records() // self.options.processes
        at = time.time() + HEAD_START_S
        jobs = [(self.broker.bootstrap, topic, partitions, self.options.record_bytes, each, at)]
        return load.produce, jobs * self.options.processes, lambda done: sum(failed for _, _, failed in done)

    def consume(self, topic, partitions):
        # What a process read tells whether all was there; one process per share of the partitions.
        shares = [range(partitions)[first :: self.options.processes] for first in range(self.options.processes)]
        counts = [sum(self.records_in(topic, p) for p in share) for share in shares]
        at = time.time() + HEAD_START_S
        jobs = [(self.broker.bootstrap, topic, share, count, at) for share, count in zip(shares, counts) if share]
        expected = sum(counts) * self.options.record_bytes
        return load.consume, jobs, lambda done: expected - sum(read for _, _, read in done)

    def records(self):
        return self.options.mb * MB // self.options.record_bytes

    def records_in(self, topic, partition):
        first, end = self.asker.get_watermark_offsets(TopicPartition(topic, partition), 30)
        return end - first

    def throughput(self, what, partitions, plan):
        work, jobs, failed = plan
        with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
            done, usage = self.measured(lambda: pool.starmap(work, jobs, 1))
        seconds = max(end for _, end, _ in done) - min(begin for begin, _, _ in done)
        sent = self.records() // self.options.processes * self.options.processes * self.options.record_bytes
        rate = {"mb_per_s": round(sent / MB / seconds, 1), "failed": failed(done)}
        if usage:
            rate["cpu_s_per_gb"] = round(usage["cpu_s"] / (sent / 1e9), 3)
        return self.result(what, partitions, {**rate, **(usage or {})})

    def latency(self, what, partitions, latencies_ms, usage):
        ordered = sorted(latencies_ms)
        at = lambda share: round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3) if ordered else None
        figures = {"p50_ms": at(0.5), "p99_ms": at(0.99), "count": len(ordered), "failed": 0 if ordered else 1}
        return self.result(what, partitions, {**figures, **(usage or {})})

    def measured(self, work):
        """What `work` gives, and what the broker used meanwhile."""
        before = self.broker.usage()
        done = work()
        after = self.broker.usage()
        if before is None:
            return done, None
        return done, {"cpu_s": round(after.cpu_s - before.cpu_s, 2), "peak_mb": round(after.peak_mb, 1)}

    def result(self, what, partitions, figures):
        load_average = round(os.getloadavg()[0], 1)
        head = {"flush_mode": self.name, "what": what, "partitions": partitions}
        return {"time": int(time.time()), **head, **figures, "machine_load": load_average}

    def topic(self, partitions):
        name = f"bench-{uuid.uuid4().hex[:8]}"
        for created in self.admin.create_topics([NewTopic(name, partitions, 1)]).values():
            created.result(60)
        return name

    def drop(self, topic):
        for gone in self.admin.delete_topics([topic]).values():
            gone.result(60)


def show_progress(result):
    if sys.stderr.isatty():
        print(f"{result['flush_mode']}: {result['what']}, {result['partitions']} partitions", file=sys.stderr)


COLUMNS = ["flush_mode", "what", "partitions", "mb_per_s", "cpu_s_per_gb", "p50_ms", "p99_ms", "peak_mb", "machine_load"]


def table(results):
    rows = [COLUMNS] + [[str(result.get(column, "")) for column in COLUMNS] for result in results]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    for row in rows:
        cells = [cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
