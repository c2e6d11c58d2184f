"""`diaoqu` in a process that kills itself with SIGKILL at a chosen moment of its work.

DIAOQU_DOOM is `<element>:<n>`: the worker dies at the n-th step of the job at that element, where every file that is
opened for writing, linked, renamed or removed, every report of progress and both sides of each commit are a step; with
n = 0 it lives, and writes the number of steps into the file DIAOQU_DOOM_COUNT. `request:<n>` does the same to the web
process with the commits of its requests: an odd n is just before one, an even n just after.

Nothing is replaced: the steps are watched (audit events, events of the session), not played.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

import engine.worker
from engine.jobs import ClaimedJob

ELEMENT, _, NUMBER = os.environ["DIAOQU_DOOM"].partition(":")
LAST = int(NUMBER)
CHANGES = {"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
_WRITING = os.O_WRONLY | os.O_RDWR


class Watch:
    """Counts in the thread that does the work only: the thread that renews the lease goes its own ways."""

    steps = 0
    thread: int | None = None


def step() -> None:
    if Watch.thread != threading.get_ident() and ELEMENT != "request":
        return
    Watch.steps += 1
    if Watch.steps == LAST:
        if ELEMENT == "request":
            os.killpg(os.getpgrp(), signal.SIGKILL)  # gunicorn's arbiter too: it would start another web process
        os.kill(os.getpid(), signal.SIGKILL)


def changes_files(name: str, arguments: tuple[Any, ...]) -> None:
    if name in CHANGES or (name == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
        step()


def commits(session: Session) -> None:
    if not session.in_nested_transaction():
        step()


def watch_jobs() -> None:
    execute, tell = engine.worker.Worker._execute, engine.worker._Lease.__call__

    def watched(self: engine.worker.Worker, job: ClaimedJob, lease: Any) -> None:
        if job.element != ELEMENT:
            execute(self, job, lease)
            return
        Watch.steps, Watch.thread = 0, threading.get_ident()
        try:
            execute(self, job, lease)
        finally:
            Watch.thread = None
            if "DIAOQU_DOOM_COUNT" in os.environ:
                Path(os.environ["DIAOQU_DOOM_COUNT"]).write_text(str(Watch.steps))

    def told(self: Any, **facts: Any) -> None:
        step()
        tell(self, **facts)

    engine.worker.Worker._execute = watched  # type: ignore[method-assign]
    engine.worker._Lease.__call__ = told  # type: ignore[method-assign]


def main() -> None:
    event.listen(Session, "before_commit", commits)
    event.listen(Session, "after_commit", commits)
    if ELEMENT != "request":
        watch_jobs()
        sys.addaudithook(changes_files)
    from web.cli import main as diaoqu

    diaoqu()


if __name__ == "__main__":
    main()
