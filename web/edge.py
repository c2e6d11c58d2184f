"""Where a request meets the database: one reading session per request, one transaction per write (DESIGN, Flow).

Views read through `reading()` and write inside `with transaction() as session:`; nothing else commits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import Flask, current_app, g
from sqlalchemy.orm import Session

from engine.db import Database
from engine.settings import Settings


def database() -> Database:
    return cast(Database, current_app.extensions["database"])


def settings() -> Settings:
    return cast(Settings, current_app.extensions["settings"])


def reading() -> Session:
    """The session that this request reads with; closed when the request ends."""
    if "reading" not in g:
        opened = database().reading()
        g.reading_context = opened
        g.reading = opened.__enter__()
    return cast(Session, g.reading)


@contextmanager
def transaction() -> Iterator[Session]:
    """One write transaction, committed at the end of the block, undone by any exception."""
    with database().transaction() as session:
        yield session


def close_reading(_error: BaseException | None = None) -> None:
    opened = g.pop("reading_context", None)
    g.pop("reading", None)
    if opened is not None:
        opened.__exit__(None, None, None)


def install(app: Flask) -> None:
    app.teardown_appcontext(close_reading)
