"""Fixtures that every test may use: a database with the present schema, a clock that stands still, people, settings."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session

import device.models  # noqa: F401 - its tables belong to the same schema
from device.simulator import prepare_media
from engine import clock as engine_clock
from engine import identity
from engine.columns import Base
from engine.db import Database
from engine.models import Department, Membership, Qualification, User
from engine.settings import Settings

PASSWORD = "correct horse battery"
POSTGRES_URL = os.environ.get("DIAOQU_TEST_POSTGRES_URL", "")
DATABASES = ["sqlite", "postgresql"] if POSTGRES_URL else ["sqlite"]

hypothesis.settings.register_profile(  # how fast a machine is says nothing about the code
    "unhurried", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On PostgreSQL `make test` runs the engine's own tests, `make test-full` everything that has a database."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec and callspec.params.get("database") == "postgresql" and "engine" not in item.path.parts:
            item.add_marker(pytest.mark.long)


class HeldClock:
    """Stands at `at` until it is moved; 2026-02-02 09:00 in Shanghai to begin with."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.at = datetime(2026, 2, 2, 1, 0, tzinfo=UTC)

    def set(self, at: datetime) -> datetime:
        self._stack.close()
        self._stack.enter_context(engine_clock.fixed(at))
        self.at = at
        return at

    def forward(self, **span: float) -> datetime:
        """Move on by `days`, `hours`, `minutes`, `seconds`."""
        return self.set(self.at + timedelta(**span))

    def release(self) -> None:
        self._stack.close()


@pytest.fixture
def clock() -> Iterator[HeldClock]:
    held = HeldClock()
    held.set(held.at)
    yield held
    held.release()


@pytest.fixture(scope="session")
def empty_schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables and no rows, made once and copied for each test."""
    path = tmp_path_factory.mktemp("schema") / "empty.db"
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.writer)
    with database.writer.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    database.dispose()
    return path


@pytest.fixture(scope="session")
def recorder_media(pytestconfig: pytest.Config) -> Path:
    """The simulated recorder's footage, encoded by the first run of the tests on this machine and kept for the next."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("recorder-media"))
    prepare_media(folder)
    return folder


@pytest.fixture(scope="session")
def postgres_url(worker_id: str) -> str:
    """A database of this test process on the server of DIAOQU_TEST_POSTGRES_URL: processes do not share rows."""
    name = f"diaoqu_{worker_id}"
    server = create_engine(POSTGRES_URL, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    server.dispose()
    return make_url(POSTGRES_URL).set(database=name).render_as_string(hide_password=False)


def settings_for(folder: Path, database_url: str) -> Settings:
    return Settings(
        data=folder,
        database_url=database_url,
        store_primary=f"file://{folder / 'store' / 'primary'}",
        store_backup=f"file://{folder / 'store' / 'backup'}",
        secret_key="a secret of more than thirty-two characters",
        demo=True,
    )


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path, empty_schema: Path) -> Iterator[Database]:
    """An empty database; on PostgreSQL too when DIAOQU_TEST_POSTGRES_URL names a server."""
    if request.param == "postgresql":
        found = Database.of(settings_for(tmp_path, request.getfixturevalue("postgres_url")))
        Base.metadata.create_all(found.writer)
        names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
        with found.transaction() as session:
            session.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    else:
        path = tmp_path / "diaoqu.db"
        shutil.copyfile(empty_schema, path)
        found = Database.of(settings_for(tmp_path, f"sqlite:///{path}"))
    yield found
    found.dispose()


@pytest.fixture
def settings(tmp_path: Path, database: Database) -> Settings:
    return settings_for(tmp_path, database.url)


@dataclass
class People:
    """The directory of a test's database. Everybody's password is PASSWORD."""

    database: Database

    def add(self, username: str, *groups: str, department: str = "", head_of: str = "", active: bool = True) -> User:
        with self.database.transaction() as session:
            unit = None
            if department or head_of:
                unit = self._department(session, head_of or department)
            if head_of and unit is not None:
                unit.head_username = username
            user = User(
                username=username,
                name=username.capitalize(),
                password_hash=_password_hash(),
                department=unit,
                active=active,
                created_at=engine_clock.now(),
                memberships=[Membership(group=group) for group in groups],
            )
            session.add(user)
            session.flush()
            return identity.find(session, username) or user

    def department(self, key: str, *, parent: str = "") -> None:
        with self.database.transaction() as session:
            unit = self._department(session, key)
            if parent:
                unit.parent = self._department(session, parent)

    def train(self, username: str, key: str, *, days: float = 365) -> None:
        """A training record that began yesterday and ends `days` from now."""
        at = engine_clock.now()
        with self.database.transaction() as session:
            span = (at - timedelta(days=1), at + timedelta(days=days))
            session.add(Qualification(username=username, key=key, valid_from=span[0], valid_until=span[1]))

    def all(self, usernames: Iterable[str], *groups: str) -> list[User]:
        return [self.add(username, *groups) for username in usernames]

    @staticmethod
    def _department(session: Session, key: str) -> Department:
        found = session.query(Department).filter_by(key=key).one_or_none()
        if found is None:
            found = Department(key=key, name=key)
            session.add(found)
        return found


_HASHES: list[str] = []


def _password_hash() -> str:
    """Hashed once: argon2 is slow on purpose."""
    if not _HASHES:
        _HASHES.append(identity.hash_password(PASSWORD))
    return _HASHES[0]


@pytest.fixture
def people(database: Database) -> People:
    return People(database)
