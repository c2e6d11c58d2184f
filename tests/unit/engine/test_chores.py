"""Upkeep goes on when one part of it fails."""

import logging
from pathlib import Path

import pytest

import device.operators  # noqa: F401 - its modules register their chores
from engine import chores
from engine.db import Database
from engine.settings import Settings


def test_a_chore_that_fails_is_logged_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done = []

    def broken(_database: Database, _settings: Settings) -> None:
        raise OSError("the disk is away")

    registered: list[chores.Chore] = [broken, lambda database, settings: done.append((database, settings))]
    monkeypatch.setattr(chores, "_CHORES", registered)
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    settings = Settings(tmp_path, "", "", "", "secret")
    with caplog.at_level(logging.ERROR):
        chores.do_all(database, settings)
    assert done == [(database, settings)]
    assert "broken" in caplog.text
    database.dispose()


def test_viewers_copies_are_looked_after() -> None:
    assert "remove_ended" in {getattr(chore, "__name__", "") for chore in chores._CHORES}
