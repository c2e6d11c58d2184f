"""The ONVIF driver against the simulated recorder: who it is, its clock, what it holds."""

import logging
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from replay_room import OFFSET, client, now, span

from device.recorders import open_recorder
from device.recorders.base import DeviceError, RecorderRefusedError, RecorderUnreachableError, Span
from device.recorders.onvif import OnvifRecorder, _stretches
from device.recorders.times import parse_time, roundest
from device.simulator import Simulator


@pytest.fixture(scope="module")
def recorder(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="operator", password="secret", clock=now, clock_offset=OFFSET) as simulator:
        yield simulator


@pytest.fixture
def driver(recorder: Simulator) -> Iterator[OnvifRecorder]:
    with client(recorder) as driver:
        yield driver


def test_probe_names_the_recorder_and_its_services(driver: OnvifRecorder) -> None:
    found = driver.probe()
    assert (found.identity.manufacturer, found.identity.driver) == ("Diaoqu", "onvif")
    assert "http://www.onvif.org/ver10/search/wsdl" in found.services


def test_the_clock_offset_is_measured_finer_than_the_second_that_the_recorder_shows(recorder: Simulator) -> None:
    clock = client(recorder, clock=None).probe().clock
    assert abs(clock.offset - OFFSET) <= clock.uncertainty
    assert clock.uncertainty < timedelta(milliseconds=500)  # what one answer alone would leave open


def test_a_recorder_whose_clock_is_off_by_hours_still_lets_us_in(recorder_media: Path) -> None:
    behind = timedelta(hours=-8, seconds=3)
    with (
        Simulator(recorder_media, username="operator", password="secret", clock=now, clock_offset=behind) as simulator,
        client(simulator, clock=None) as driver,
    ):
        clock = driver.probe().clock
        assert abs(clock.offset - behind) <= clock.uncertainty


def test_recordings_come_page_by_page_with_their_names_and_tracks(driver: OnvifRecorder, recorder: Simulator) -> None:
    found = {each.token: each for each in driver.recordings()}
    assert list(found) == ["gate", "lobby", "garage", "counter"]
    assert found["counter"].tracks == ("video/H264", "audio/PCMU")
    assert found["gate"].camera == "大门"
    assert found["gate"].end is not None
    assert abs(found["gate"].end - now()) < timedelta(seconds=30), "bounds are in true time"
    assert recorder.open_searches == 0, "every search is ended"


def test_coverage_of_a_recorded_span_is_complete(driver: OnvifRecorder) -> None:
    asked = span("05:00:00", 600)
    found = driver.coverage("gate", asked)
    assert (found.status, found.gaps, found.recorded) == ("complete", (), (asked,))


def test_coverage_shows_the_gap_in_true_time(driver: OnvifRecorder, recorder: Simulator) -> None:
    found = driver.coverage("lobby", span("03:55:00", 900))
    begin = datetime(2026, 6, 1, 4, 0, tzinfo=UTC) - OFFSET
    assert found.status == "partial"
    assert [(gap.start, gap.end, gap.cause) for gap in found.gaps] == [
        (begin, begin + timedelta(minutes=6, seconds=30), "not_recorded")
    ]


def test_coverage_within_a_gap_or_before_the_oldest_footage_is_none(driver: OnvifRecorder) -> None:
    assert driver.coverage("lobby", span("04:01:00", 60)).status == "none"
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    assert driver.coverage("gate", Span(long_ago, long_ago + timedelta(hours=1))).status == "none"


def test_coverage_of_a_span_that_begins_within_a_gap(driver: OnvifRecorder) -> None:
    found = driver.coverage("lobby", span("04:05:00", 300))
    assert found.status == "partial"
    assert [gap.start for gap in found.gaps] == [found.requested.start]


def test_an_unknown_recording_is_refused(driver: OnvifRecorder) -> None:
    with pytest.raises(RecorderRefusedError, match="no recording 'attic'"):
        driver.coverage("attic", span("05:00:00", 60))


def test_a_wrong_password_is_refused(recorder: Simulator) -> None:
    wrong = OnvifRecorder(recorder.url, "operator", "guess", now=now)
    with pytest.raises(RecorderRefusedError, match="user name or the password"):
        wrong.probe()


def test_nobody_listening_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RecorderUnreachableError):
        OnvifRecorder(f"http://127.0.0.1:{port}", timeout=1).probe()


def test_a_recorder_that_accepts_but_never_answers_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(RecorderUnreachableError, match="in time"):
        OnvifRecorder(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3).probe()


@pytest.mark.parametrize("url", ["ftp://host/x", "host:80", "http://", "http://host:99999/"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(RecorderRefusedError, match="address"):
        OnvifRecorder(url)


def test_addresses_behind_nat_are_called_at_the_registered_host() -> None:
    wire = OnvifRecorder("http://192.0.2.7:8080/onvif/device_service")._wire
    assert wire.at_home("http://10.0.0.5/onvif/search") == "http://192.0.2.7:8080/onvif/search"
    assert wire.at_home("http://192.0.2.7:8081/onvif/search") == "http://192.0.2.7:8081/onvif/search"
    assert wire.at_home("file:///etc/passwd") == "http://192.0.2.7:8080/etc/passwd"


def test_the_replay_address_can_be_overridden_in_part_or_whole(recorder: Simulator) -> None:
    part = client(recorder, rtsp_override="rtsp://192.0.2.7:8554").replay_uri("gate")
    assert part == "rtsp://192.0.2.7:8554/replay/gate"
    whole = client(recorder, rtsp_override="rtsp://192.0.2.7/other").replay_uri("gate")
    assert whole == "rtsp://192.0.2.7/other"


def test_using_the_driver_changes_neither_logging_nor_proxies(driver: OnvifRecorder) -> None:
    handlers = list(logging.getLogger().handlers)
    os.environ["http_proxy"] = "http://proxy.invalid"
    try:
        driver.probe()
        assert os.environ["http_proxy"] == "http://proxy.invalid"
    finally:
        del os.environ["http_proxy"]
    assert logging.getLogger().handlers == handlers


def test_drivers_are_opened_by_name() -> None:
    assert isinstance(open_recorder("onvif", "http://192.0.2.7", "u", "p", timeout=1.0), OnvifRecorder)
    with pytest.raises(DeviceError, match="no driver 'vhs'"):
        open_recorder("vhs", "http://192.0.2.7")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-02-01T10:00:00Z", datetime(2026, 2, 1, 10, tzinfo=UTC)),
        ("2026-02-01 10:00:00", datetime(2026, 2, 1, 10, tzinfo=UTC)),
        ("2026-02-01T24:00:00Z", datetime(2026, 2, 2, tzinfo=UTC)),
        ("2026-02-01T23:59:60Z", datetime(2026, 2, 2, tzinfo=UTC)),
        ("2026-02-01T10:00:00.123456789+08:00", datetime(2026, 2, 1, 2, 0, 0, 123456, tzinfo=UTC)),
        ("2026-02-01T10:00:00-0330", datetime(2026, 2, 1, 10, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))),
        ("", None),
        ("soon", None),
        ("2026-13-41T99:00:00Z", None),
        ("9999-12-31T24:00:00Z", None),
    ],
)
def test_times_as_recorders_write_them(written: str, meant: datetime | None) -> None:
    assert parse_time(written) == meant


def test_changes_of_state_fold_into_stretches() -> None:
    asked = span("05:00:00", 60)
    at = [asked.start + timedelta(seconds=each) for each in (0, 10, 20, 60)]
    assert _stretches(asked, [], None) == [asked]
    assert _stretches(asked, [], False) == []
    assert _stretches(asked, [(at[1], False), (at[2], True)], True) == [Span(at[0], at[1]), Span(at[2], at[3])]
    assert _stretches(asked, [(at[1], True)], None) == [Span(at[1], at[3])], "the opposite held before"
    assert _stretches(asked, [(at[1], True), (at[2], True)], False) == [Span(at[1], at[3])]


def test_the_roundest_offset_that_fits_is_taken() -> None:
    ms = timedelta(milliseconds=1)
    assert roundest(-20 * ms, 30 * ms) == timedelta(0)
    assert roundest(36_980 * ms, 37_030 * ms) == 37_000 * ms
    assert roundest(1_280 * ms, 1_320 * ms) == 1_300 * ms
    assert roundest(1_230 * ms, 1_240 * ms) == 1_235 * ms
