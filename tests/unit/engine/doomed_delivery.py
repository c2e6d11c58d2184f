"""Delivers what is due in a process of its own, stops at the n-th statement of a kind and waits to be killed there."""

import sys

from doomed_worker import wait_to_be_killed
from sqlalchemy import event

from engine import messages
from engine.db import Database


def main(url: str, statement: str, number: str) -> None:
    database, seen = Database(url), 0

    @event.listens_for(database.writer, "before_cursor_execute")
    def look(_connection, _cursor, text, *_more):
        nonlocal seen
        seen += text.startswith(statement)
        if seen == int(number):
            wait_to_be_killed()

    messages.deliver_due(database)


if __name__ == "__main__":
    main(*sys.argv[1:])
