"""One recorder and one running installation for all tests of a process; tests that break things get a copy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from premises import Premises, RecorderProcess
from visitors import Browser, Door, Program


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory, recorder_media: Path) -> Iterator[RecorderProcess]:
    found = RecorderProcess(tmp_path_factory.mktemp("recorder"), recorder_media)
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory, recorder: RecorderProcess) -> Premises:
    """An installation on its first day, standing still: to be copied."""
    return Premises.found(tmp_path_factory.mktemp("founded") / "data", recorder)


@pytest.fixture
def copied(tmp_path: Path, recorder: RecorderProcess) -> Iterator[Callable[[Premises], Premises]]:
    """Makes a copy of an installation that ends with the test."""
    made: list[Premises] = []

    def copy(original: Premises, name: str = "") -> Premises:
        recorder.start()
        made.append(original.copy(tmp_path / (name or f"copy{len(made)}")))
        return made[-1]

    yield copy
    for each in made:
        each.stop()


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, founded: Premises, recorder: RecorderProcess
) -> Iterator[Premises]:
    """A running installation that tests share: each makes requests of its own and breaks nothing that others need."""
    premises = founded.copy(tmp_path_factory.mktemp("service") / "data")
    premises.start_web()
    premises.start_worker()
    yield premises
    premises.stop()


@pytest.fixture(scope="session")
def browser(service: Premises) -> Iterator[Browser]:
    found = Browser(service)
    yield found
    found.close()


@pytest.fixture(params=["page", "api"])
def door(request: pytest.FixtureRequest, service: Premises, browser: Browser) -> Door:
    """The same request through the pages and through the API."""
    return browser if request.param == "page" else Program(service)
