"""An ONVIF client library by other hands (the npm package `onvif`, which has its own SOAP) reads our recorder."""

import json
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from replay_room import HOUR, OFFSET, now

from device.simulator import CAMERAS, Simulator

PACKAGE = Path(__file__).parents[3] / "web" / "assets" / "node_modules" / "onvif"
READER = Path(__file__).with_name("onvif_reader.cjs")


def read(simulator: Simulator, password: str = "secret") -> subprocess.CompletedProcess[str]:
    command = ["node", str(READER), str(PACKAGE), str(simulator.port), "operator", password]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Simulator:
    with Simulator(recorder_media, 0, 0, "operator", "secret", clock=now, clock_offset=OFFSET) as simulator:
        yield simulator  # type: ignore[misc]  # a generator, to pytest


def test_an_independent_library_reads_services_clock_recordings_and_replay_addresses(simulator: Simulator) -> None:
    done = read(simulator)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = {service["namespace"].split("/")[-2] for service in found["services"]}
    assert {"device", "recording", "search", "replay"} <= names
    assert found["device"]["model"] == "Simulated recorder"
    shown = datetime.fromisoformat(found["time"].replace("Z", "+00:00"))
    assert 0 <= (shown - HOUR - OFFSET).total_seconds() < 3600
    assert [each["recordingToken"] for each in found["recordings"]] == [camera.token for camera in CAMERAS]
    assert [each["configuration"]["source"]["name"] for each in found["recordings"]] == [
        "大门",
        "大厅",
        "车库",
        "收银台",
    ]
    assert found["replays"] == {camera.token: simulator.replay_uri(camera.token) for camera in CAMERAS}


def test_it_is_turned_away_with_a_wrong_password(simulator: Simulator) -> None:
    done = read(simulator, "guess")
    assert done.returncode == 1
    assert "not authorized" in done.stderr.lower()
