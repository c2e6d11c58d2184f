"""PostgreSQL killed with SIGKILL under web and worker, and started again: they say so, lose nothing, and go on.

Neither the web process nor the worker is started again in these tests.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
from premises import Answer, Premises, RecorderProcess, of_this_morning
from processes import eventually
from servers import Postgres
from test_recovery import READY, archived, check_everything, in_the_middle
from test_web_killed import form, state_of

from web.setup import MAIN_PROCESS

pytestmark = pytest.mark.long


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with TemporaryDirectory() as folder:  # pytest's own are closed to the user that the server runs as
        found = Postgres(Path(folder))
        found.start()
        yield found
        found.stop()


@pytest.fixture
def premises(tmp_path: Path, recorder: RecorderProcess, postgres: Postgres) -> Iterator[Premises]:
    recorder.start()
    found = Premises.found(tmp_path / "data", recorder, DIAOQU_DATABASE_URL=postgres.url)
    found.start_web()
    found.start_worker()
    yield found
    found.stop()


def is_away(answer: Answer) -> None:
    assert (answer.status, answer.kind) == (503, "application/problem+json")
    assert answer.json["title"] == "This is not available at the moment"
    assert "The database does not answer" in answer.json["detail"]


def test_what_was_acknowledged_is_stored_and_the_rest_is_told_to_wait(premises: Premises, postgres: Postgres) -> None:
    begun = [
        premises.ask("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}})["id"]
        for _ in range(24)
    ]
    waiting = [premises.task(instance, "fill_application")["id"] for instance in begun]
    acknowledged: list[str] = []
    refused: list[Answer] = []
    data = form()

    def submit(mine: list[str]) -> None:
        for task in mine:
            answer = premises.call("applicant", "POST", f"/tasks/{task}/complete", {"data": data})
            if answer.status == 200:
                acknowledged.append(task)
            else:
                refused.append(answer)

    clerks = [threading.Thread(target=submit, args=(waiting[number::4],)) for number in range(4)]
    for clerk in clerks:
        clerk.start()
    eventually(lambda: len(acknowledged) >= 5, "some are through", every=0.005)
    postgres.kill()
    for clerk in clerks:
        clerk.join(60)
    assert 5 <= len(acknowledged) < len(waiting)
    assert len(acknowledged) + len(refused) == len(waiting)
    for answer in refused:
        is_away(answer)
    while_it_is_away(premises)

    postgres.start()
    found = {task: state_of(premises, task) for task in waiting}
    assert set(found.values()) <= {("open", 0), ("completed", 1)}
    assert all(found[task] == ("completed", 1) for task in acknowledged)
    for task, (state, _submissions) in found.items():
        again = premises.call("applicant", "POST", f"/tasks/{task}/complete", {"data": data})
        assert again.status == (200 if state == "open" else 409)
        assert state_of(premises, task) == ("completed", 1)
    assert premises.call("", "GET", "/health").status == 200


def while_it_is_away(premises: Premises) -> None:
    """Programs, people who have signed in and people who have not are told the same."""
    is_away(premises.call("applicant", "GET", "/tasks"))
    is_away(premises.call("", "GET", "/health"))
    for path in ("/", "/tasks", "/sign-in"):
        page = requests.get(premises.url + path, headers={"Accept": "text/html"}, params={"lang": "en"}, timeout=60)
        assert (page.status_code, page.headers["Retry-After"]) == (503, "10"), path
        assert "The database does not answer" in page.text
        assert "Try again in a few minutes." in page.text


def test_a_retrieval_goes_on_by_itself_and_ends_in_a_sound_bag(premises: Premises, postgres: Postgres) -> None:
    instance = premises.apply(["gate"], *of_this_morning(12))
    premises.lead(instance, to="confirm_readiness")
    worker: Any = premises.worker
    premises.submit(instance, "confirm_readiness", READY)
    eventually(lambda: in_the_middle(premises, instance), "the retrieval is in the middle", every=0.01)
    postgres.kill()
    is_away(premises.call("auditor", "GET", f"/instances/{instance}"))
    postgres.start()
    bag = archived(premises, instance)
    assert bag.is_dir()
    assert not worker.ended
    job = premises.job(instance, "acquire_footage")
    assert job is not None
    assert (job.state, job.epoch in {1, 2}) == ("done", True)
    check_everything(premises, instance)
