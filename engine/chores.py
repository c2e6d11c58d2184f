"""Upkeep that recurs and that no process instance waits for, such as deleting what nobody may see any more.

A chore is called by every worker about once a minute. It finds what to do in the database, does nothing when there is
nothing, and may be interrupted anywhere: the next call goes on.
"""

import logging
from collections.abc import Callable

from engine.db import Database
from engine.settings import Settings

Chore = Callable[[Database, Settings], object]

EVERY = 60.0
"""Seconds between two rounds."""

_CHORES: list[Chore] = []
_LOG = logging.getLogger(__name__)


def chore(function: Chore) -> Chore:
    """Register a chore."""
    _CHORES.append(function)
    return function


def do_all(database: Database, settings: Settings) -> None:
    """One round. A chore that fails is logged, and the others are done."""
    for function in _CHORES:
        try:
            function(database, settings)
        except Exception:  # noqa: BLE001 - whatever went wrong with one must not keep the others from being done
            _LOG.exception("%s failed", function.__qualname__)
