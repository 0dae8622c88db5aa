"""The log as those meet it who read it, or do not: a full disk, a pipe whose reader has gone, one whose reader stalls."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest
from broker import NORN, Broker

MALFORMED = bytes.fromhex("00000004") + b"abcd"


class Logger(Broker):
    """A broker whose standard error, and output, go where the test says."""

    def launch(self, stderr=None, stdout=subprocess.DEVNULL):
        args = [str(NORN), "serve"]
        for key, value in self.settings.items():
            args += ["--set", f"{key}={value}"]
        self.process = subprocess.Popen(args, stdout=stdout, stderr=stderr, env={**os.environ, "NORN_LOG": "info"})
        self.log_path = self.directory / "none"
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.alive() and time.monotonic() < deadline, self.process.poll()
            time.sleep(0.02)
        return self.process

    def log_lines(self, count):
        """Has the broker log so many lines: each malformed request is one."""
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                s.settimeout(5)
                s.sendall(MALFORMED)
                assert s.recv(1) == b""


@pytest.fixture
def logger(tmp_path):
    broker = Logger(tmp_path)
    yield broker
    if broker.alive():
        broker.kill()


@pytest.mark.parametrize("stdout", ["/dev/null", "/dev/full"])
def test_a_full_disk_beneath_the_log_is_no_matter_for_the_broker(logger, stdout):
    with open("/dev/full", "wb") as full, open(stdout, "wb") as out:
        logger.launch(stderr=full, stdout=out)
    logger.log_lines(20)
    assert logger.answers()
    assert logger.stop() == 0


def test_output_that_is_closed_is_no_matter_for_the_broker(logger):
    reader, writer = os.pipe()
    logger.launch(stderr=writer, stdout=writer)
    os.close(writer)
    os.close(reader)
    logger.log_lines(20)
    assert logger.answers()
    assert logger.stop() == 0


def test_lines_that_a_gone_reader_did_not_take_are_told_to_the_next_one(logger, tmp_path):
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    logger.launch(stderr=writer)
    os.close(writer)
    time.sleep(0.3)
    assert b"broker started" in os.read(reader, 1 << 16)
    os.close(reader)
    logger.log_lines(7)
    time.sleep(0.3)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    logger.log_lines(1)
    time.sleep(0.3)
    lines = os.read(reader, 1 << 16).decode().splitlines()
    os.close(reader)
    assert len(lines) == 2 and "connection closed" in lines[0], lines
    assert "WARN" in lines[1] and re.search(r"lines were lost.* lines=7$", lines[1]), lines


def test_a_reader_that_stalls_stops_neither_the_broker_nor_its_end(logger):
    reader, writer = os.pipe()
    logger.launch(stderr=writer, stdout=writer)
    os.close(writer)
    # A pipe holds 64 KiB: some five hundred lines.
    logger.log_lines(1500)
    assert logger.answers()
    assert logger.stop() == 0
    os.close(reader)


def test_the_last_lines_of_a_clean_end_come_out_even_to_a_slow_reader(logger):
    reader, writer = os.pipe()
    logger.launch(stderr=writer)
    os.close(writer)
    logger.log_lines(1000)
    logger.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    with open(reader) as log:
        lines = log.read().splitlines()
    assert logger.process.wait(10) == 0
    assert sum("connection closed" in line for line in lines) == 1000
    assert "clean shutdown" in lines[-1], lines[-3:]


def test_the_reason_of_a_refused_start_comes_out_and_where_nobody_takes_it_the_status_does(logger):
    logger.launch()
    for settings, status in [([], 1), (["--set", "no.such.setting=x"], 2)]:
        args = [NORN, "serve", "--set", f"log.dirs={logger.settings['log.dirs']}", "--set", "http.port=0", *settings]
        args += ["--set", "listeners=PLAINTEXT://127.0.0.1:0"]
        told = subprocess.run(args, capture_output=True, text=True, timeout=30)
        assert told.returncode == status and ("in use" in told.stderr or "no.such.setting" in told.stderr), told
        with open("/dev/full", "wb") as full:
            assert subprocess.run(args, stdout=full, stderr=full, timeout=30).returncode == status


def test_a_command_ends_quietly_whose_reader_has_gone(logger):
    logger.launch()
    for command in [["topic", "list"], ["topic", "describe", "missing"], ["settings"]]:
        reader, writer = os.pipe()
        os.close(reader)
        at = [] if command == ["settings"] else ["-b", logger.bootstrap]
        ended = subprocess.run([NORN, *command, *at], stdout=writer, stderr=writer, timeout=30)
        os.close(writer)
        assert ended.returncode == (1 if "missing" in command else 0), (command, ended)
