"""What signals do to a broker."""

import signal


def test_signals_one_right_after_another_leave_cleanly(broker):
    """As GNU `timeout` sends them: to its child and then to the process group."""
    for _ in range(3):
        broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(20) == 0, broker.log()
    assert "clean shutdown" in broker.log()
