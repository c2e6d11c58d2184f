"""A worker of its own process, called by a broker. Run by test_dispatch.

Its operator notes `<process> <camera> <epoch>` in the file `runs` and waits as long as there is a file `hold`, both in
the data folder; so a test knows when it is in the middle of a job.
"""

import os
import sys
import threading
from pathlib import Path

from process_files import RECORDER

from engine.db import Database
from engine.operators import JobContext
from engine.settings import Settings
from engine.worker import Worker

PAUSE = threading.Event()


def note(context: JobContext) -> None:
    data = context.settings.data
    with (data / "runs").open("a") as runs:
        runs.write(f"{os.getpid()} {context.data['camera']} {context.epoch}\n")
    while (data / "hold").exists():
        context.progress(waiting=True)
        PAUSE.wait(0.02)


def main(url: str, data: str, broker: str, site: str) -> None:
    RECORDER.during = note
    secret = "a secret of more than thirty-two characters"
    settings = Settings(Path(data), url, "", "", secret, broker_url=broker, site=site)
    worker = Worker(Database.of(settings), settings, slots=1)
    worker.start()
    sys.stdin.read()
    worker.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
