"""A real `norn serve` process for one test: started on free ports, stopped or killed by pid, restarted on its data."""

import atexit
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NORN = pathlib.Path(os.environ.get("NORN_TEST_BINARY", ROOT / "target/release/norn"))
KCAT = "kcat"
JAVA_JAR = ROOT / "tests/java/target/norn-java-tests.jar"
# The sizes that the issue states, which take longer than `make test` should.
FULL = os.environ.get("NORN_TEST_FULL") == "1"


def free_port():
    """Below those that the system gives to outgoing connections: one of these could take it before the broker does, or
    between its stop and its next start."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Broker:
    """`settings` are Kafka property names with dots written as in `server.properties`."""

    def __init__(self, directory, env=None, **settings):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.http = free_port()
        self.env = env or {}
        self.settings = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "http.port": str(self.http),
            "log.dirs": str(self.directory / "data"),
            "group.initial.rebalance.delay.ms": "0",
            **{k.replace("__", "."): str(v) for k, v in settings.items()},
        }
        self.process = None
        self.starts = 0

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def launch(self):
        """Starts the process and does not wait until it answers."""
        self.starts += 1
        self.log_path = self.directory / f"broker-{self.starts}.log"
        args = [str(NORN), "serve"]
        for key, value in self.settings.items():
            args += ["--set", f"{key}={value}"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(args, stdout=log, stderr=log, env={**os.environ, **self.env})
        atexit.register(self.process.kill)  # of a test that failed half-way
        return self.process

    def start(self, timeout=30):
        began = time.monotonic()
        self.launch()
        while time.monotonic() - began < timeout:
            if self.process.poll() is not None:
                raise AssertionError(f"the broker ended at start with {self.process.returncode}:\n{self.log()}")
            if self.answers():
                self.started_in = time.monotonic() - began
                return self
            time.sleep(0.01)
        raise AssertionError(f"the broker did not answer within {timeout} s:\n{self.log()}")

    def answers(self):
        """One ApiVersions v0 round trip."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.settimeout(2)
                s.sendall(bytes.fromhex("0000000a" "0012" "0000" "00000001" "ffff"))
                return len(s.recv(4)) == 4
        except OSError:
            return False

    def stop(self, timeout=20):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def rss(self):
        """Resident memory in bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.alive():
            self.kill()
