"""Bytes that no client should send: each ends in a Kafka error or a closed connection with a log line, and costs nothing."""

import itertools
import os
import random
import socket
import struct
import threading
import time

import pytest
from broker import Broker
from load import create_topics

API_VERSIONS, PRODUCE, FETCH, METADATA = 18, 0, 1, 3
UNSUPPORTED_VERSION, CORRUPT_MESSAGE, INVALID_RECORD = 35, 2, 87
REQUEST_MAX = 1 << 20
REQUESTS = 1_000_000
GROWTH_MAX = 20 << 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("bad"), socket__request__max__bytes=REQUEST_MAX) as running:
        create_topics(running.bootstrap, "there", partitions=1)
        yield running
        assert running.alive() and running.answers()
        assert "panicked" not in running.log()


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def head(key, version, correlation=7, client="c"):
    return struct.pack(">hhi", key, version, correlation) + text(client)


def sized(payload):
    return struct.pack(">i", len(payload)) + payload


def produce(records, topic="there", version=3, acks=1):
    partition = struct.pack(">iii", 1, 0, len(records)) + records
    body = struct.pack(">hhii", -1, acks, 1000, 1) + text(topic) + partition
    return sized(head(PRODUCE, version) + body)


GOOD = sized(head(API_VERSIONS, 0))
# Whole requests of many APIs in their oldest served versions, to be damaged.
SOUND = {
    "api-versions": GOOD,
    "api-versions-3": sized(head(API_VERSIONS, 3) + b"\0" + b"\5kcat\x041.7\0"),
    "metadata": sized(head(METADATA, 4) + struct.pack(">i", 1) + text("there") + b"\0"),
    "produce": produce(bytes(61)),
    "fetch": sized(head(FETCH, 4) + struct.pack(">iiiibi", -1, 0, 1, 1 << 20, 0, 1) + text("there") + struct.pack(">iiqi", 1, 0, 0, 1 << 20)),
    "list-offsets": sized(head(2, 1) + struct.pack(">ii", -1, 1) + text("there") + struct.pack(">iiq", 1, 0, -1)),
    "offset-commit": sized(head(8, 2) + text("g") + struct.pack(">i", -1) + text("") + struct.pack(">qi", -1, 0)),
    "offset-fetch": sized(head(9, 1) + text("g") + struct.pack(">i", 1) + text("there") + struct.pack(">ii", 1, 0)),
    "find-coordinator": sized(head(10, 1) + text("g") + b"\0"),
    "heartbeat": sized(head(12, 0) + text("g") + struct.pack(">i", 1) + text("m")),
    "leave-group": sized(head(13, 0) + text("g") + text("m")),
    "describe-groups": sized(head(15, 0) + struct.pack(">i", 1) + text("g")),
    "list-groups": sized(head(16, 0)),
    "create-topics": sized(head(19, 2) + struct.pack(">iib", 0, 1000, 1)),
    "delete-topics": sized(head(20, 1) + struct.pack(">ii", 0, 1000)),
    "init-producer-id": sized(head(22, 0) + struct.pack(">hi", -1, 1000)),
    "describe-configs": sized(head(32, 1) + struct.pack(">i", 1) + b"\2" + text("there") + struct.pack(">i", -1) + b"\0"),
}


def talk(broker, data, close_write=True, timeout=10):
    """Sends the bytes and returns what came back until the broker closed, and the port that it knows us by."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout) as s:
        port, got = s.getsockname()[1], b""
        try:
            s.sendall(data)
            if close_write:
                s.shutdown(socket.SHUT_WR)
            while part := s.recv(65536):
                got += part
        except ConnectionError:
            pass
        return got, port


def replies(got):
    out, at = [], 0
    while at < len(got):
        (size,) = struct.unpack_from(">i", got, at)
        assert len(got) >= at + 4 + size, "half a reply"
        out.append(got[at + 4 : at + 4 + size])
        at += 4 + size
    return out


def closed_line(broker, port, since):
    """The log line, among those after `since` characters, that tells why the connection from this port was closed: there
    may have been earlier ones from it."""
    for _ in range(200):
        for line in broker.log()[since:].splitlines():
            if "connection closed" in line and f"127.0.0.1:{port}" in line:
                return line
        time.sleep(0.01)
    raise AssertionError(f"no log line about port {port}")


CLOSING = {
    "negative-size": (struct.pack(">i", -1), "negative"),
    "oversized": (struct.pack(">i", REQUEST_MAX + 1), "socket.request.max.bytes"),
    "largest-size": (struct.pack(">i", 0x7FFFFFFF), "socket.request.max.bytes"),
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "socket.request.max.bytes"),
    "tls": (bytes.fromhex("16030100f8010000f40303") + bytes(200), "socket.request.max.bytes"),
    "empty": (sized(b""), ""),
    "no-room-for-a-header": (sized(b"\0\x12\0"), ""),
    "unknown-api": (sized(head(999, 0)), "999"),
    "negative-api": (sized(head(-1, 0)), "-1"),
    "unserved-api": (sized(head(4, 0)), ""),
    "unknown-version": (sized(head(METADATA, 99) + b"\0"), "99"),
    "negative-version": (sized(head(METADATA, -1)), "-1"),
    "negative-client-id": (sized(struct.pack(">hhih", METADATA, 1, 7, -9)), ""),
    "client-id-past-the-end": (sized(struct.pack(">hhih", METADATA, 1, 7, 500)), ""),
    "array-of-two-billion": (sized(head(METADATA, 1) + struct.pack(">i", 0x7FFFFFFF)), "Metadata"),
    "array-of-minus-two": (sized(head(METADATA, 1) + struct.pack(">i", -2)), "Metadata"),
    "compact-array-of-four-billion": (sized(head(METADATA, 9) + b"\0" + b"\xff\xff\xff\xff\x0f"), "Metadata"),
    "varint-without-end": (sized(head(METADATA, 9) + b"\0" + b"\xff" * 20), "Metadata"),
    "string-past-the-end": (sized(head(METADATA, 1) + struct.pack(">ih", 1, 30000)), "Metadata"),
    "records-past-the-end": (sized(head(PRODUCE, 3) + struct.pack(">hhii", -1, 1, 1000, 1) + text("there") + struct.pack(">iii", 1, 0, 1 << 30)), "Produce"),
}


@pytest.mark.parametrize("case", CLOSING)
@pytest.mark.parametrize("after", ["first", "after-a-sound-request"])
def test_what_cannot_be_understood_closes_the_connection_with_a_log_line(broker, case, after):
    data, named = CLOSING[case]
    before = GOOD if after != "first" else b""
    logged = len(broker.log())
    got, port = talk(broker, before + data, close_write=False)
    assert len(replies(got)) == bool(before), "the sound request is answered, the other is not"
    assert named in closed_line(broker, port, logged)


def test_a_string_that_is_not_utf_8_is_answered(broker):
    got, _ = talk(broker, sized(head(METADATA, 1) + struct.pack(">ih", 1, 2) + b"\xff\xfe") + GOOD)
    assert len(replies(got)) == 2


def test_an_unknown_version_of_api_versions_is_answered_with_those_that_are_known(broker):
    for version in (99, 0x7FFF, -1):
        got, _ = talk(broker, sized(head(API_VERSIONS, version) + b"\0") + GOOD)
        first, second = replies(got)
        assert struct.unpack_from(">ih", first) == (7, UNSUPPORTED_VERSION)
        assert struct.unpack_from(">ih", second) == (7, 0)


@pytest.mark.parametrize("records", [b"", bytes(10), bytes(61), b"\xff" * 61, os.urandom(300)], ids=lambda r: f"{len(r)}-{r[:1].hex()}")
def test_records_that_are_no_batch_are_refused_and_nothing_is_written(broker, records):
    got, _ = talk(broker, produce(records))
    (reply,) = replies(got)
    error, offset = struct.unpack_from(">hq", reply, 4 + 4 + 2 + len("there") + 4 + 4)
    assert error != 0 and offset == -1


def test_garbage_after_a_sound_request_harms_no_other_connection(broker):
    rng = random.Random("garbage")
    with socket.create_connection(("127.0.0.1", broker.port), 10) as other:
        for _ in range(300):
            got, _ = talk(broker, GOOD + rng.randbytes(rng.randrange(1, 400)))
            assert struct.unpack_from(">ih", replies(got)[0]) == (7, 0)
        other.sendall(GOOD)
        assert len(other.recv(65536)) > 10


@pytest.mark.parametrize("name", SOUND)
def test_a_request_cut_anywhere_is_waited_for_and_then_forgotten(broker, name):
    data = SOUND[name]
    assert len(replies(talk(broker, data)[0])) == 1, "the request itself is sound"
    for cut in range(len(data)):
        since = len(broker.log())
        got, port = talk(broker, data[:cut])
        assert got == b""
        if cut > 0:
            assert f"after {cut} bytes" in closed_line(broker, port, since)
        # The same with a size that says that this is all.
        if cut > 4:
            replies(talk(broker, sized(data[4:cut]))[0])
    assert broker.answers()


@pytest.mark.parametrize("name", SOUND)
def test_a_request_with_flipped_bytes_ends_in_a_reply_or_a_closed_connection(broker, name):
    rng = random.Random(name)
    for _ in range(150):
        body = bytearray(SOUND[name][4:])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(body))
            body[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        try:
            replies(talk(broker, sized(bytes(body)), timeout=0.2 if name == "fetch" else 10)[0])
        except TimeoutError:
            assert name == "fetch", "only a long poll may wait"
    assert broker.answers()


def names(count, tail=b""):
    """An array of structures that begin with a name."""
    return struct.pack(">i", count) + b"".join(text(f"{number:06}") + tail for number in range(count))


def fetched(count):
    partitions = b"".join(struct.pack(">iqi", index, 0, 1000) for index in range(count))
    return struct.pack(">iiiibi", -1, 10, 0, 1 << 20, 0, 1) + text("there") + struct.pack(">i", count) + partitions


def joining(first):
    """A JoinGroup with 60000 protocols."""
    protocols = struct.pack(">i", 60_000) + b"".join(text(f"{first}{number:06}") + struct.pack(">i", 0) for number in range(60_000))
    return text("g") + struct.pack(">ii", 30_000, 1_000) + text("") + text("consumer") + protocols


def colliding(count):
    """Names that a metric could not tell from "a.a.a...": none of them may be created."""
    ways = itertools.islice(itertools.product("._", repeat=16), 1, count + 1)
    return struct.pack(">i", count) + b"".join(text("a" + "".join(sign + "a" for sign in way)) for way in ways)


# So many things in one request that each may not be held against all others.
LONG = {
    "incremental-alter-configs": [(44, 0, struct.pack(">i", 100_000) + b"".join(b"\2" + text(f"{n:06}") + bytes(4) for n in range(100_000)) + b"\1")],
    "create-partitions": [(37, 0, names(60_000, struct.pack(">ii", 5, -1)) + struct.pack(">ib", 1000, 1))],
    "offset-commit": [(8, 2, text("long") + struct.pack(">i", -1) + text("") + struct.pack(">qi", -1, 50_000) + (text("there") + struct.pack(">iiqh", 1, 0, 1, 0)) * 50_000)],
    "metadata": [(METADATA, 4, colliding(60_000) + b"\1")],
    "fetch": [(FETCH, 4, fetched(100_000))],
    "join-group": [(11, 1, joining("a")), (11, 1, joining("b"))],
}


@pytest.mark.parametrize("name", LONG)
def test_a_request_that_names_very_many_things_holds_up_nobody(tmp_path, name):
    with Broker(tmp_path) as broker:
        create_topics(broker.bootstrap, "there", partitions=1)
        create_topics(broker.bootstrap, "a" + ".a" * 16, partitions=1)
        talk(broker, sized(head(10, 0) + text("g")))
        time.sleep(1)
        sockets, longest = [], 0
        for key, version, body in LONG[name]:
            sockets.append(socket.create_connection(("127.0.0.1", broker.port), 60))
            sockets[-1].sendall(sized(head(key, version) + body))
            answered = threading.Thread(target=sockets[-1].recv, args=(4,))
            answered.start()
            while answered.is_alive():
                began = time.monotonic()
                assert broker.answers()
                longest = max(longest, time.monotonic() - began)
                time.sleep(0.01)
        for one in sockets:
            one.close()
        assert longest < 2, f"others waited for {longest:.1f} s"


def test_random_bodies_of_every_api_and_version_end_in_a_reply_or_a_closed_connection(broker):
    rng = random.Random("bodies")
    for key in range(-1, 95):
        for version in rng.sample(range(-1, 20), 6):
            body = rng.randbytes(rng.choice([0, 1, 5, 30, 200]))
            replies(talk(broker, sized(head(key, version) + body))[0])
    assert broker.answers()


def unfinished(broker, claimed, sent):
    """A connection that announces a request and brings part of it, as far as the broker takes it."""
    s = socket.create_connection(("127.0.0.1", broker.port), 10)
    s.settimeout(0.2)
    try:
        s.sendall(struct.pack(">i", claimed) + struct.pack(">hhih", PRODUCE, 3, 1, -1) + bytes(sent))
    except TimeoutError:
        pass
    return s


def test_requests_that_never_become_whole_hold_no_more_memory_than_all_may(tmp_path):
    with Broker(tmp_path, queued__max__request__bytes=10 << 20) as broker:
        before = broker.rss()
        peers = [unfinished(broker, 9 << 20, 8 << 20) for _ in range(20)]
        growth = broker.rss() - before
        print(f"20 peers that want to bring 8 MiB each: {growth >> 10} KiB")
        assert growth < 30 << 20
        for peer in peers:
            peer.close()
        assert broker.answers()


def test_an_error_of_a_produce_that_gets_no_answer_closes_the_connection_with_a_log_line(broker):
    logged = len(broker.log())
    got, port = talk(broker, GOOD + produce(bytes(61), acks=0), close_write=False)
    assert len(replies(got)) == 1
    assert "acks=0" in closed_line(broker, port, logged)


@pytest.mark.slow
def test_malformed_requests_leave_no_memory_behind(broker):
    """Most are answered with an error, so that many fit into one connection; the last one closes it."""
    rng = random.Random("memory")
    corrupt = produce(rng.randbytes(200))
    unknown = sized(head(API_VERSIONS, 77) + b"\0")
    endings = [data for data, _ in CLOSING.values()]
    per_connection = 100

    def send(count):
        for _ in range(count // per_connection):
            burst = (unknown + corrupt) * (per_connection // 2 - 1) + unknown + rng.choice(endings)
            got, _ = talk(broker, burst, close_write=False)
            assert len(replies(got)) == per_connection - 1

    began = time.monotonic()
    send(10_000)
    early = broker.rss()
    send(REQUESTS - 10_000)
    late = broker.rss()
    print(f"{REQUESTS} malformed requests in {time.monotonic() - began:.0f} s: "
          f"{early >> 10} KiB after 10,000, {late >> 10} KiB after all")
    assert late - early <= GROWTH_MAX
    assert "panicked" not in broker.log()
