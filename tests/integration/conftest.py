"""One recorder and one running installation for all tests of a process; tests that break things get a copy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from premises import Premises, RecorderProcess


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
