"""Fixtures of the custody tests: settings, a database with people, an open case."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from case_room import People, database_in, open_case, settings_in
from sqlalchemy.orm import Session

from device.models import Case
from engine.db import Database
from engine.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with database_in(settings) as database:
        yield database


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
