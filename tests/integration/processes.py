"""Programs under test as processes of their own: started, awaited, killed by their id, never left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from engine.settings import ROOT

T = TypeVar("T")
_PAUSE = threading.Event()


def eventually(look: Callable[[], T], what: str, *, seconds: float = 60, every: float = 0.05) -> T:
    """What `look` answers as soon as it is true; fails when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        _PAUSE.wait(every)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A command of `diaoqu` in a process group of its own; what it prints goes to `log`."""

    def __init__(
        self,
        *arguments: str,
        log: Path,
        environment: Mapping[str, str] = {},
        program: tuple[str, ...] = ("-m", "web.cli"),
    ) -> None:
        self.name = arguments[0]
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [sys.executable, *program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def check(self) -> None:
        assert not self.ended, f"{self.name} ended with {self._popen.returncode}: {self.printed()[-3000:]}"

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = 60) -> int:
        """Its exit status, once it has ended; -9 when it was killed."""
        return self._popen.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to this process alone: what it has started finds out by itself."""
        self._popen.send_signal(signal.SIGKILL)
        self._popen.wait(10)

    def kill_group(self) -> None:
        """SIGKILL to the process and everything that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(10)

    def stop(self) -> None:
        """Ask it to end, insist if it does not."""
        if self.ended:  # which also takes the ended process from the table
            return
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(15)
        except subprocess.TimeoutExpired:
            self.kill_group()
