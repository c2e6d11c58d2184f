"""Fixtures of the custody tests: settings, a database with people, an open case."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from case_room import People, open_case, populate
from sqlalchemy.orm import Session

from device.models import Case
from device.simulator import prepare_media
from engine.db import Database
from engine.models import Base
from engine.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path / "data",
        database_url=f"sqlite:///{tmp_path / 'data' / 'diaoqu.db'}",
        store_primary=(tmp_path / "primary").as_uri(),
        store_backup=(tmp_path / "backup").as_uri(),
        secret_key="a long random text for the tests only",
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url)
    Base.metadata.create_all(database.writer)
    with database.transaction() as session:
        populate(session)
    yield database
    database.dispose()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.transaction() as session:
        yield session


@pytest.fixture
def people(session: Session) -> People:
    return People(session)


@pytest.fixture
def case(session: Session) -> Case:
    """The open case of `applicant`; tests that need their own transactions open it themselves."""
    return open_case(session)


@pytest.fixture(scope="session")
def recorder_media(pytestconfig: pytest.Config) -> Path:
    """The simulated recorder's footage, encoded by the first run of the tests on this machine and kept for the next."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("recorder-media"))
    prepare_media(folder)
    return folder
