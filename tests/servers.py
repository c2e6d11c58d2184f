"""Servers that a test starts in a folder of its own, kills and starts again: Redis and PostgreSQL, on loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PAUSE = threading.Event()


def until(look: Callable[[], object], what: str, *, seconds: float = 30, every: float = 0.02) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        _PAUSE.wait(every)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A program that listens on `port`; what it prints goes to `log` in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as()
            )
        until(self._up, f"{self.command()[0]} answers")

    def _as(self) -> dict[str, str]:
        return {}

    def _up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """SIGKILL to the process that was started, by its id."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class Redis(Server):
    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        return [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]

    def ask(self, *words: str) -> str:
        """What the server answers to a command."""
        asked = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


class Postgres(Server):
    """The postmaster runs as `postgres` when the tests run as root: it refuses to be root."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bin = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])).parent
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        initdb = [str(self.bin / "initdb"), "-D", "db", "-U", "diaoqu", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(initdb, cwd=folder, check=True, capture_output=True, **self._as())  # type: ignore[call-overload]

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://diaoqu@127.0.0.1:{self.port}/postgres"

    def command(self) -> Sequence[str]:
        options = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "max_connections=200"]
        return [
            str(self.bin / "postgres"),
            *("-D", "db", "-p", str(self.port)),
            *(word for option in options for word in ("-c", option)),
        ]

    def _as(self) -> dict[str, str]:
        return {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}

    def _up(self) -> bool:
        """Whether it has also recovered what it had under way when it was killed."""
        asked = [str(self.bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return super()._up() and subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children notice and end by themselves."""
        children = self._children()
        super().kill()
        until(lambda: not any(Path("/proc", pid).exists() for pid in children), "the postmaster's children have ended")

    def _children(self) -> list[str]:
        assert self._process is not None
        found = Path("/proc", str(self._process.pid), "task", str(self._process.pid), "children")
        with contextlib.suppress(FileNotFoundError):
            return found.read_text().split()
        return []
