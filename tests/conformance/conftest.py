"""Fixtures of the conformance tests: the recorders, an office of one's own, a request that has come some way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from office import Office, Request
from stages import OFFSET, Arrive, Stages

from device.simulator import CAMERAS, Simulator

LOGIN: dict[str, Any] = {"username": "viewer", "password": "口令 1", "clock_offset": OFFSET}


@pytest.fixture(scope="session")
def stages(recorder_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Two recorders, and what has been walked so far; all cameras but one hang on the first."""
    with (
        Simulator(recorder_media, **LOGIN) as recorder,
        Simulator(recorder_media, cameras=CAMERAS[:1], **LOGIN) as annex,
    ):
        yield Stages(tmp_path_factory.mktemp("stages"), recorder, annex)


@pytest.fixture
def office(stages: Stages, tmp_path: Path) -> Iterator[Office]:
    """An office on its first day. Afterwards every finished case in it must pass verification by re-execution."""
    office = stages.open(tmp_path / "office")
    yield office
    assert office.findings() == []
    office.close()


@pytest.fixture
def at(stages: Stages, tmp_path: Path) -> Iterator[Arrive]:
    """`at("check_playback", "copy")`: a request of this kind that waits there; verified afterwards as above."""
    opened: list[Office] = []

    def arrive(stage: str, kind: str = "view") -> Request:
        request = stages.open_at(tmp_path / f"office {len(opened)}", stage, kind)
        opened.append(request.office)
        return request

    yield arrive
    for office in opened:
        assert office.findings() == []
        office.close()
