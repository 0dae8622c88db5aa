"""What signals do to a broker whose shutdown takes a while."""

import signal
import socket
import time

# ApiVersions v0 without a client id.
REQUEST = bytes.fromhex("0000000a" "0012" "0000" "00000001" "ffff")


def test_a_second_signal_counts_only_a_moment_after_the_first(broker):
    with socket.socket() as peer:
        # It takes none of the answers that it is owed, so that the broker waits for it before it leaves.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", broker.port))
        peer.settimeout(0.3)
        try:
            for _ in range(100):
                peer.sendall(REQUEST * 10_000)
        except TimeoutError:
            pass  # the broker reads no further
        broker.process.send_signal(signal.SIGTERM)
        for _ in range(3):
            time.sleep(0.2)
            broker.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert broker.alive(), "those came with the first:\n" + broker.log()
        time.sleep(0.5)
        broker.process.send_signal(signal.SIGTERM)
        assert broker.process.wait(10) == 128 + signal.SIGTERM
    log = broker.log()
    assert "changes nothing" in log and "ending at once" in log, log


def test_signals_one_after_another_leave_cleanly(broker):
    broker.process.send_signal(signal.SIGTERM)
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(20) == 0, broker.log()
