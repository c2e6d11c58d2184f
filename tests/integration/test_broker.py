"""Web and worker as processes of their own with a real Redis between them: `diaoqu web`, `diaoqu worker --site`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from premises import Premises, of_this_morning
from processes import eventually
from servers import Redis

from web.demo import ANSWERS

pytestmark = pytest.mark.long


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    found = Redis(folder)
    found.start()
    yield found
    found.stop()


def test_the_web_process_calls_a_worker_through_the_broker(
    founded: Premises, copied: Callable[[Premises], Premises], redis: Redis
) -> None:
    premises = copied(founded)
    premises.environment["DIAOQU_BROKER_URL"] = redis.url
    premises.start_web()
    instance = premises.apply(["gate"], *of_this_morning(0.3))
    while not premises.jobs(instance):
        element = premises.open_tasks(instance)[0]["element"]
        premises.submit(instance, element, ANSWERS[element][1](None, premises.instance(instance)["data"]))  # type: ignore[arg-type]
    (job, *_) = premises.jobs(instance)
    queue = f"diaoqu.{job.site}"
    eventually(lambda: redis.ask("llen", queue) == "1", "the job's message waits for a worker")
    assert str(job.id) in redis.ask("lindex", queue, "0")
    premises.start_worker(DIAOQU_SITE=job.site)
    premises.lead(instance)
    assert redis.ask("llen", queue) == "0"
    assert {done.state for done in premises.jobs(instance)} == {"done"}
