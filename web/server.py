"""Runs the web application under gunicorn: threads, because of event streams and downloads; loopback by default.

`serve` has the job worker's threads in the same process; `web` has none and relies on `diaoqu worker` beside it.
"""

from typing import Any

from gunicorn.app.base import BaseApplication

from engine.db import Database
from engine.dispatch import Sender
from engine.settings import Settings
from engine.worker import Worker
from web import create_app

THREADS = 48
"""More than the expected number of event streams and downloads at a time (FINDINGS, "Jobs, databases, servers")."""


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(self, settings: Settings, *, host: str, port: int, worker: bool) -> None:
        self.settings = settings
        self.worker = worker
        self.address = f"{host}:{port}"
        self._sender = Sender(settings) if settings.broker_url else None  # a worker has one of its own
        super().__init__()

    def load_config(self) -> None:
        self.cfg.set("bind", self.address)
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("workers", 1)
        self.cfg.set("threads", THREADS)
        self.cfg.set("timeout", 120)
        self.cfg.set("graceful_timeout", 5)
        self.cfg.set("loglevel", "warning")
        self.cfg.set("proc_name", "diaoqu")
        self.cfg.set("control_socket_disable", True)  # it would put a socket into the home folder
        if self.worker:
            self.cfg.set("post_worker_init", self._start_worker)
            self.cfg.set("worker_exit", self._stop_worker)
        elif self._sender:
            self.cfg.set("post_worker_init", lambda _worker: self._sender.start())
            self.cfg.set("worker_exit", lambda _server, _worker: self._sender.stop())

    def load(self) -> Any:
        return create_app(self.settings)

    def _start_worker(self, _gunicorn_worker: Any) -> None:
        self._jobs = Worker(Database.of(self.settings), self.settings)
        self._jobs.start()

    def _stop_worker(self, _server: Any, _gunicorn_worker: Any) -> None:
        self._jobs.stop()
