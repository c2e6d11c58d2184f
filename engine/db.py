"""Sessions on SQLite (WAL, FULL) and PostgreSQL with one code path; readers never take the write lock."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session

from engine.settings import ROOT


class Database:
    """The door to the database. Core functions take a `session` and never commit; the edge opens one here.

    `transaction()` is for writing: one commit at its end, a rollback on any exception.
    `reading()` is for queries: it takes no write lock and never commits.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        self._write_lock = threading.Lock()  # SQLite's busy timeout is unfair among threads; a lock is not
        if self.sqlite:
            path = url.removeprefix("sqlite:///")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.writer = _sqlite(url, "BEGIN IMMEDIATE")
            self.reader = _sqlite(url, "BEGIN")
        else:
            self.writer = self.reader = create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        if not self.sqlite:
            with Session(self.writer, expire_on_commit=False) as session, session.begin():
                yield session
            return
        with self._write_lock, Session(self.writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with Session(self.reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to `revision` by the migrations in migrations/."""
        config = Config()
        config.set_main_option("script_location", str(ROOT / "migrations"))
        config.attributes["engine"] = self.writer
        command.upgrade(config, revision)

    def dispose(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


def _sqlite(url: str, begin: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "isolation_level": None, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
