"""A worker killed with SIGKILL at any moment loses nothing: its lease runs out and another one goes on."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import doomed_worker
import pytest

from engine import jobs, replay
from engine.worker import Worker

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("point", "first_epochs"),
    [("operator", 3), ("INSERT INTO history", 5), ("UPDATE instances", 5)],
    ids=["in the operator", "in the middle of the step", "before the commit"],
)
def test_a_killed_worker_loses_nothing(office, deployed, settings, recorder, clock, point, first_epochs):
    clock.release()
    instance = office.start("fetch_one", camera="gate")
    command = [sys.executable, str(HERE / "doomed_worker.py"), deployed.url, str(settings.data), point]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[2]
    ) as doomed:
        assert doomed.stdout is not None
        assert doomed.stdout.readline() == "here\n"
        doomed.send_signal(signal.SIGKILL)
    epochs = {}

    def go_on(context):
        doomed_worker.write_chunks(context)
        epochs.update({number: (context.scratch / str(number)).read_text() for number in range(doomed_worker.CHUNKS)})

    recorder.during = go_on
    worker = Worker(deployed, settings)
    pause = threading.Event()
    for _ in range(400):
        if worker.run_one("heir"):
            break
        pause.wait(0.05)
    with deployed.reading() as session:
        (job,) = jobs.of_instance(session, instance.id)
        assert (job.state, job.epoch, job.attempts) == ("done", 2, 2)
        verdict = replay.verify(session, instance.id)
    assert office.now(instance).data["fetched"] == {"camera": "gate"}
    assert (verdict.ok, verdict.events) == (True, 2)
    assert list(epochs.values()) == ["epoch 1"] * first_epochs + ["epoch 2"] * (doomed_worker.CHUNKS - first_epochs)
