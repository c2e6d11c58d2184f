"""Sessions on SQLite (WAL, FULL) and PostgreSQL with one code path; readers never take the write lock."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from engine.errors import N_, EngineError, NoRoomError
from engine.settings import ROOT, SettingsError


class DatabaseAwayError(EngineError):
    """The database cannot be reached or opened: see whether it runs, and DIAOQU_DATABASE_URL."""


def _backend(url: str) -> str:
    try:
        found = make_url(url).get_backend_name()
    except ArgumentError:
        found = ""
    if found not in ("sqlite", "postgresql"):
        raise SettingsError(
            N_("DIAOQU_DATABASE_URL must begin with sqlite:/// and a path, or with postgresql+psycopg:// and a host.")
        )
    return found


class Database:
    """The door to the database. Core functions take a `session` and never commit; the edge opens one here.

    `transaction()` is for writing: one commit at its end, a rollback on any exception.
    `reading()` is for queries: it takes no write lock and never commits.
    """

    def __init__(self, url: str) -> None:
        """Opens no connection yet. Raises SettingsError when `url` is no address of a supported database."""
        self.url = url
        self.sqlite = _backend(url) == "sqlite"
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
        """Raises NoRoomError when the database's disk is full; nothing is stored then."""
        session = Session(self.writer, expire_on_commit=False)
        try:
            with self._write_lock if self.sqlite else nullcontext(), session, session.begin():
                yield session
        except DBAPIError as error:
            if _is_full(error.orig):
                raise NoRoomError from error
            raise
        finally:
            self._follow_up(session)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        session = Session(self.reader, expire_on_commit=False, autoflush=False)
        try:
            with session:
                yield session
        finally:
            self._follow_up(session)

    def _follow_up(self, session: Session) -> None:
        for action in session.info.pop(_FOLLOW_UPS, ()):
            action(self)

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to `revision` by the migrations in migrations/.

        Raises:
            DatabaseAwayError: the database cannot be reached or opened.
        """
        config = Config()
        config.set_main_option("script_location", str(ROOT / "migrations"))
        config.attributes["engine"] = self.writer
        try:
            command.upgrade(config, revision)
        except OperationalError as error:
            raise DatabaseAwayError(
                N_("The database cannot be opened: %(reason)s"), reason=str(error.orig).strip().splitlines()[0]
            ) from error

    def dispose(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


_POSTGRES_DISK_FULL = "53100"


def _is_full(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == _POSTGRES_DISK_FULL


_FOLLOW_UPS = "follow-ups"


def afterwards(session: Session, action: Callable[[Database], None]) -> None:
    """Call `action` once the transaction is over, however it ended: what must be kept even when it is rolled back.

    A wrong password is refused by rolling back, yet it must be counted; that needs a transaction of its own.
    """
    session.info.setdefault(_FOLLOW_UPS, []).append(action)


def _sqlite(url: str, begin: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "isolation_level": None, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Any) -> None:
        try:  # straight to the driver, as its other databases' drivers do it: this is said before every transaction
            connection.connection.driver_connection.execute(begin)
        except sqlite3.Error as error:
            raise OperationalError(begin, None, error) from error

    return engine
