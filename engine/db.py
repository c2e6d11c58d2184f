"""Sessions on SQLite (WAL, FULL) and PostgreSQL with one code path; readers never take the write lock."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, PendingRollbackError
from sqlalchemy.orm import Session

from engine.errors import N_, EngineError, NoRoomError
from engine.settings import ROOT, Settings, SettingsError

_LOG = logging.getLogger(__name__)


class DatabaseAwayError(EngineError):
    """The database cannot be reached or opened: see whether it runs, and DIAOQU_DATABASE_URL.

    When it went away during a commit, nobody can say whether that was stored.
    """


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

    def __init__(self, url: str, master: bytes = b"") -> None:
        """Opens no connection yet. `master` is the key that encrypts the keys of personal data (see `of`).

        Raises:
            SettingsError: `url` is no address of a supported database.
        """
        self.url = url
        self._info = {_MASTER: master}
        self.sqlite = _backend(url) == "sqlite"
        self._write_lock = threading.Lock()  # SQLite's busy timeout is unfair among threads; a lock is not
        if self.sqlite:
            path = url.removeprefix("sqlite:///")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.writer = _sqlite(url, "BEGIN IMMEDIATE")
            self.reader = _sqlite(url, "BEGIN")
        else:
            self.writer = self.reader = _postgresql(url)

    @classmethod
    def of(cls, settings: Settings) -> "Database":
        """The database of the settings, with what opens personal data. Raises SettingsError."""
        return cls(settings.database_url, settings.derived_key(b"diaoqu personal keys 1"))

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Raises NoRoomError when the database's disk is full; nothing is stored then. DatabaseAwayError."""
        session = Session(self.writer, expire_on_commit=False, info=self._info)
        try:
            with self._write_lock if self.sqlite else nullcontext(), session, session.begin():
                yield session
        except DBAPIError as error:
            if _is_full(error.orig):
                raise NoRoomError from error
            raise
        except PendingRollbackError as error:
            if error.code == _LOST_IN_TRANSACTION:
                raise DatabaseAwayError(_AWAY) from error
            raise
        finally:
            self._follow_up(session)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        session = Session(self.reader, expire_on_commit=False, autoflush=False, info=self._info)
        try:
            yield session
        finally:
            with suppress(DatabaseAwayError):  # what was read is read; there is nothing to undo
                session.close()
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
        except (OperationalError, DatabaseAwayError) as error:
            reason = error.orig if isinstance(error, OperationalError) else error.__cause__
            raise DatabaseAwayError(
                N_("The database cannot be opened: %(reason)s"), reason=str(reason).strip().splitlines()[0]
            ) from error

    def scrub(self) -> None:
        """Clear away what the rows deleted by `destroying` were, outside of the tables; after their commit.

        SQLite: everything in the write-ahead log. PostgreSQL: the dead rows in the file of the keys.
        """
        if not self.sqlite:
            with self.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM (FULL) personal_keys")
            return
        pooled = self.writer.raw_connection()  # a checkpoint cannot run inside of a transaction
        try:
            busy = pooled.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            pooled.close()
        if busy:
            _LOG.warning("readers keep the write-ahead log: what was erased leaves it when the service is restarted")

    def dispose(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


_MASTER = "master key of personal data"


def master_key(session: Session) -> bytes:
    """What the keys of personal data are encrypted with. Raises SettingsError when the session has none."""
    found: bytes = session.info.get(_MASTER, b"")
    if not found:
        raise SettingsError(N_("Personal data needs DIAOQU_SECRET_KEY; this database was opened without it."))
    return found


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


@contextmanager
def destroying(session: Session) -> Iterator[None]:
    """What is deleted within the block is overwritten in the file, too; `Database.scrub` must follow the commit.

    Elsewhere SQLite overwrites only where that costs no further write.
    """
    connection = session.connection()
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    yield
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=FAST")


def _sqlite(url: str, begin: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "isolation_level": None, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "secure_delete=FAST",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def do_begin(connection: Any) -> None:
        connection.driver_connection.execute(begin)

    # Not by the engine's event: an engine with events calls all its hooks around every statement.
    engine.dialect.do_begin = do_begin  # type: ignore[assignment, method-assign]
    return engine


CONNECT = 5
"""Seconds after which a PostgreSQL that does not answer counts as away."""

_AWAY = N_("The database does not answer. What was just sent may not be stored: look before you send it again.")
_LOST_IN_TRANSACTION = "8s2b"
"""SQLAlchemy's code for going on after the connection was lost, as a step does that takes it for a refusal."""

_SHUTTING_DOWN_OR_STARTING = {"57P01", "57P02", "57P03"}


def _postgresql(url: str) -> Engine:
    engine = create_engine(
        url, pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args={"connect_timeout": CONNECT}
    )

    @event.listens_for(engine, "handle_error")
    def say_that_it_is_away(context: ExceptionContext) -> None:
        error = context.original_exception
        state = getattr(error, "sqlstate", None)
        never_reached = context.connection is None and isinstance(context.sqlalchemy_exception, OperationalError)
        if context.is_pre_ping or not (context.is_disconnect or never_reached or state in _SHUTTING_DOWN_OR_STARTING):
            return
        _LOG.warning("the database is away: %s", error)
        raise DatabaseAwayError(_AWAY) from error

    return engine
