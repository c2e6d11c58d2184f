"""Recorders whose services misbehave: wrong clocks and zones, faults, slow answers, logins without end, NAT, TLS."""

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from fault_room import pulled
from replay_room import OFFSET, held, now, pictures, span

from device.recorders.base import RecorderRefusedError, RecorderUnreachableError
from device.recorders.onvif import OnvifRecorder
from device.recorders.replay import RtspRecorder
from device.simulator import CAMERAS, Faults, MissingFootage, SimulatedCamera, Simulator, UnknownFaultError
from device.simulator.command import simulate_recorder

LOGIN = ("operator", "secret")


@pytest.fixture(scope="module")
def recorder(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, 0, 0, *LOGIN, cameras=CAMERAS[:1], clock=now, clock_offset=OFFSET) as simulator:
        yield simulator


def connect(simulator: Simulator, faults: Faults, **options: object) -> OnvifRecorder:
    """A driver that knows nothing of the recorder yet, not even its clock."""
    simulator.faults = faults
    return OnvifRecorder(simulator.url, *LOGIN, now=now, **{"timeout": 5.0, "patience": 0.02} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("faults", "ahead"),
    [
        (Faults(time_zone=8), 8 * 3600 + 37),
        (Faults(time_zone=-5), -5 * 3600 + 37),
        (Faults(clock_offset=-1234.5), -1197.5),
        (Faults(clock_drift=200), 37),
    ],
)
def test_a_wrong_clock_is_measured_and_the_right_footage_comes(
    recorder: Simulator, tmp_path: Path, faults: Faults, ahead: float
) -> None:
    report = connect(recorder, faults).acquire("gate", span("05:00:00", 20), tmp_path / "copy.mkv")
    assert report.clock is not None
    assert report.clock.offset.total_seconds() == pytest.approx(ahead, abs=0.3)
    assert pictures(tmp_path / "copy.mkv") == [frame.digest for frame in held(recorder, "gate", report)]
    assert (report.complete, report.confidence) == (True, "high")


def test_addresses_from_behind_nat_are_replaced_by_the_registered_host(recorder: Simulator, tmp_path: Path) -> None:
    report = connect(recorder, Faults(nat="192.0.2.44")).acquire("gate", span("05:00:00", 5), tmp_path / "copy.mkv")
    assert report.complete
    assert report.replay_uri == f"rtsp://127.0.0.1:{recorder.rtsp_port}/replay/gate"


def test_slow_answers_are_waited_for_up_to_the_time_limit(recorder: Simulator) -> None:
    assert connect(recorder, Faults(slow_soap=0.3)).probe().identity.model == "Simulated recorder"
    with pytest.raises(RecorderUnreachableError, match="in time"):
        connect(recorder, Faults(slow_soap=3), timeout=0.3).probe()


def test_a_login_that_is_never_accepted_ends(recorder: Simulator, tmp_path: Path) -> None:
    driver = connect(recorder, Faults(login_loop=True))
    before = sum(recorder.calls.values())
    with pytest.raises(RecorderRefusedError, match="user name or the password"):
        driver.probe()
    with pytest.raises(RecorderRefusedError, match="user name or password"):
        RtspRecorder(recorder.replay_uri("gate"), *LOGIN).acquire("", span("05:00:00", 5), tmp_path / "copy.mkv")
    assert sum(recorder.calls.values()) - before < 60


@pytest.mark.parametrize("operation", ["tse:FindEvents", "tse:FindRecordings", "tse:GetEventSearchResults"])
def test_a_recorder_without_its_index_is_copied_all_the_same_and_that_is_said(
    recorder: Simulator, tmp_path: Path, operation: str
) -> None:
    driver = connect(recorder, Faults(soap_faults=(operation,)))
    report = driver.acquire("gate", span("05:00:00", 5), tmp_path / "copy.mkv")
    assert report.complete
    assert any("index could not be read" in warning for warning in report.warnings)


@pytest.mark.parametrize("operation", ["*", "tds:GetSystemDateAndTime", "tds:GetServices"])
def test_an_answer_of_no_is_passed_on_in_words(recorder: Simulator, tmp_path: Path, operation: str) -> None:
    driver = connect(recorder, Faults(soap_faults=(operation,)))
    with pytest.raises(RecorderRefusedError, match="out of order"):
        driver.acquire("gate", span("05:00:00", 5), tmp_path / "copy.mkv")
    assert list(tmp_path.iterdir()) == []


def test_midnight_written_as_24_is_the_next_day(recorder_media: Path) -> None:
    """08:00 in China is midnight in UTC."""
    gap = MissingFootage(timedelta(hours=7, minutes=50), timedelta(hours=8))
    cameras = [SimulatedCamera("gate", "大门", "CAM 1 GATE", missing=(gap,))]
    with Simulator(recorder_media, cameras=cameras, clock=now, clock_offset=timedelta(0)) as simulator:
        answers = []
        for faults in (Faults(), Faults(midnight_24=True)):
            answers.append(connect(simulator, faults).coverage("gate", span("00:00:00", 600)).gaps)
            simulator.faults = faults
        early = connect(simulator, Faults(midnight_24=True))
        night = early.coverage("gate", type(span("00:00:00", 1))(_at("2026-05-31T23:45"), _at("2026-06-01T00:10")))
    assert answers[0] == answers[1] == ()
    assert [(gap.start, gap.end) for gap in night.gaps] == [(_at("2026-05-31T23:50"), _at("2026-06-01T00:00"))]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_session_is_kept_alive_while_nothing_comes(recorder_media: Path) -> None:
    with Simulator(
        recorder_media, cameras=CAMERAS[:1], clock=now, clock_offset=timedelta(0), session_timeout=timedelta(seconds=2)
    ) as simulator:
        outcome, _ = pulled(simulator, "gate", Faults(plays=("stall:9000",)), stall=2.6)
        assert simulator.calls["RTSP GET_PARAMETER"] >= 2
    assert outcome.reached_end
    assert outcome.reconnections == 1, "the answers to keep-alive are no footage: the stall is noticed"


# --- RTSPS


@pytest.fixture(scope="module")
def secure(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(
        recorder_media, 0, 0, *LOGIN, cameras=CAMERAS[:1], clock=now, clock_offset=OFFSET, secure=True
    ) as simulator:
        yield simulator


def trusting(simulator: Simulator) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=simulator.certificate.decode())


@pytest.mark.parametrize("plays", [(), ("cut:30000", "stall:50000")])
def test_replay_over_tls_gives_the_same_frames(secure: Simulator, tmp_path: Path, plays: tuple[str, ...]) -> None:
    driver = connect(secure, Faults(plays=plays), tls=trusting(secure), stall=0.5)
    report = driver.acquire("gate", span("05:00:00", 30), tmp_path / "copy.mkv")
    assert report.replay_uri.startswith("rtsps://")
    assert pictures(tmp_path / "copy.mkv") == [frame.digest for frame in held(secure, "gate", report)]
    assert report.complete


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Simulator, tmp_path: Path) -> None:
    with pytest.raises(RecorderRefusedError, match="not trusted"):
        connect(secure, Faults()).acquire("gate", span("05:00:00", 5), tmp_path / "copy.mkv")
    address = secure.replay_uri("gate").replace("127.0.0.1", "127.0.0.2")
    with pytest.raises((RecorderRefusedError, RecorderUnreachableError)):
        RtspRecorder(address, *LOGIN, tls=trusting(secure)).acquire("", span("05:00:00", 5), tmp_path / "copy.mkv")


def test_a_recorder_that_speaks_plainly_is_no_rtsps_recorder(recorder: Simulator, tmp_path: Path) -> None:
    recorder.faults = Faults()
    address = recorder.replay_uri("gate").replace("rtsp://", "rtsps://")
    with pytest.raises(RecorderUnreachableError):
        RtspRecorder(address, *LOGIN, timeout=2).acquire("", span("05:00:00", 5), tmp_path / "copy.mkv")


# --- the control address and the command line


def test_the_control_address_shows_and_replaces_the_faults(recorder: Simulator) -> None:
    recorder.faults = Faults(ending="eof")
    assert requests.get(recorder.control_url, timeout=5).json()["ending"] == "eof"
    answer = requests.put(recorder.control_url, data=json.dumps({"loss": 0.5, "plays": ["cut:9"]}), timeout=5)
    assert answer.json()["loss"] == 0.5
    assert recorder.faults == Faults(loss=0.5, plays=("cut:9",))
    for wrong in ({"gremlins": 1}, {"loss": 7}, {"loss": True}, {"plays": "cut:9"}, {"ending": "bang"}, [1]):
        answer = requests.put(recorder.control_url, data=json.dumps(wrong), timeout=5)
        assert answer.status_code == 400
        assert answer.json()["error"]
    assert requests.put(recorder.control_url, data="{" * 9, timeout=5).status_code == 400
    assert requests.post(recorder.control_url, data="{}", timeout=5).status_code == 405
    assert recorder.faults == Faults(loss=0.5, plays=("cut:9",)), "a refused request changes nothing"


def test_faults_are_written_on_the_command_line_by_their_names() -> None:
    given = ["plays=cut:90000,busy", "ending=eof", "no-extension", "loss=0.1", "midnight_24=no"]
    assert Faults.parse(given) == Faults(plays=("cut:90000", "busy"), ending="eof", no_extension=True, loss=0.1)
    for wrong in ("gremlins", "loss=much", "loss=nan", "plays=explode", "nat=a b", "clock_step_at=noon"):
        with pytest.raises(UnknownFaultError):
            Faults.parse([wrong])
    assert Faults.from_json(json.loads(json.dumps(Faults.parse(given).to_json()))) == Faults.parse(given)
    listed = CliRunner().invoke(simulate_recorder, ["--fault", "list"])
    assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == Faults.names()
    wrong_use = CliRunner().invoke(simulate_recorder, ["--fault", "gremlins"])
    assert (wrong_use.exit_code, "there is no fault 'gremlins'" in wrong_use.stderr) == (2, True)
