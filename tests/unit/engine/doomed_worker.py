"""A worker of its own process, which tells where it stands and then waits to be killed. Run by test_kill."""

import sys
from datetime import timedelta
from pathlib import Path

from process_files import RECORDER
from sqlalchemy import event

from engine.db import Database
from engine.operators import JobContext
from engine.settings import Settings
from engine.worker import Worker

CHUNKS = 5


def write_chunks(context: JobContext, *, stop_at: int | None = None) -> None:
    """Resumable work: each chunk is a file; those that are there already are not written again."""
    context.scratch.mkdir(parents=True, exist_ok=True)
    for number in range(CHUNKS):
        if number == stop_at:
            wait_to_be_killed()
        chunk = context.scratch / f"{number}"
        if not chunk.exists():
            partial = context.scratch / f"{number}.part-{context.epoch}"
            partial.write_text(f"epoch {context.epoch}")
            partial.rename(chunk)
        context.progress(chunk=number)


def wait_to_be_killed() -> None:
    print("here", flush=True)
    sys.stdin.read()


def main(url: str, data: str, point: str) -> None:
    database = Database(url)
    settings = Settings(Path(data), url, "", "", "a secret of more than thirty-two characters")
    if point == "operator":
        RECORDER.during = lambda context: write_chunks(context, stop_at=3)
    else:
        RECORDER.during = write_chunks

        @event.listens_for(database.writer, "before_cursor_execute")
        def look(_connection, _cursor, statement, *_more):
            if statement.startswith(point):
                wait_to_be_killed()

    Worker(database, settings, lease=timedelta(seconds=1)).run_one("doomed")


if __name__ == "__main__":
    main(*sys.argv[1:])
