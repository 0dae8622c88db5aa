"""The broker under measurement: started here on free ports, or one that runs already."""

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/norn"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """CPU seconds since the process started, and the most memory it ever held."""

    cpu_s: float
    peak_mb: float


class Broker:
    """A broker at `bootstrap`; with a `pid`, one whose use of the machine can be read."""

    def __init__(self, bootstrap, pid=None, process=None, data=None):
        self.bootstrap = bootstrap
        self.pid = pid
        self._process = process
        self._data = data

    @staticmethod
    def start(flush_mode, folder):
        """A fresh norn with its data below `folder`, whose disk is what `flush.mode=sync` is measured on."""
        folder.mkdir(parents=True, exist_ok=True)
        data = tempfile.mkdtemp(prefix="norn-", dir=folder)
        settings = {
            "listeners": "PLAINTEXT://127.0.0.1:0",
            "http.port": "0",
            "log.dirs": f"{data}/data",
            "flush.mode": flush_mode,
        }
        arguments = [argument for setting in settings.items() for argument in ("--set", "=".join(setting))]
        with open(f"{data}/log", "w") as log:
            process = subprocess.Popen([BINARY, "serve", *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
        for line in process.stdout:
            if line.startswith("kafka "):
                return Broker(line.split()[1], process.pid, process, data)
        reason = Path(f"{data}/log").read_text()
        shutil.rmtree(data, ignore_errors=True)
        raise SystemExit(f"{BINARY} did not start:\n{reason}")

    def usage(self):
        if self.pid is None:
            return None
        # The name in parentheses may hold blanks; user and system time are fields 14 and 15.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
        return Usage(cpu_s, peak_kb / 1024)

    def stop(self):
        """Ends what was started here, and removes its data."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._data, ignore_errors=True)
