"""The SOAP face of the simulated recorder, as onvif-zeep sees it and as raw HTTP."""

import base64
import hashlib
import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from lxml import etree
from onvif import ONVIFCamera, ONVIFError
from requests.auth import HTTPDigestAuth

from device.simulator import CAMERAS, LOCAL_TIME, Simulator
from device.simulator.search_sessions import MAX_SEARCHES

NOW = datetime(2026, 2, 20, 7, 30, tzinfo=UTC)
USER, PASSWORD = "admin", "p@ss 口令"
SOAP = "http://www.w3.org/2003/05/soap-envelope"
SETUP = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username=USER, password=PASSWORD, clock=lambda: NOW) as simulator:
        yield simulator


@pytest.fixture
def camera(simulator: Simulator) -> Any:
    return connect(simulator)


def connect(simulator: Simulator, password: str = PASSWORD, *, adjust_time: bool = True) -> Any:
    """onvif-zeep with the addresses that it does not find by itself."""
    camera = ONVIFCamera("127.0.0.1", simulator.port, USER, password, adjust_time=adjust_time)
    for service in camera.devicemgmt.GetServices({"IncludeCapability": False}):
        camera.xaddrs[service.Namespace] = service.XAddr
    return camera


def post(simulator: Simulator, body: str, header: str = "", **options: Any) -> requests.Response:
    envelope = f'<s:Envelope xmlns:s="{SOAP}"><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>'
    return requests.post(simulator.url, data=envelope.encode(), timeout=10, **options)


def token(created: datetime, password: str = PASSWORD) -> str:
    stamp = f"{created:%Y-%m-%dT%H:%M:%SZ}"
    digest = hashlib.sha1(b"salt" + stamp.encode() + password.encode(), usedforsecurity=False).digest()
    hashed = base64.b64encode(digest).decode()
    namespace = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity"
    return (
        f'<Security xmlns="{namespace}-secext-1.0.xsd" xmlns:u="{namespace}-utility-1.0.xsd"><UsernameToken>'
        f"<Username>{USER}</Username><Password>{hashed}</Password>"
        f"<Nonce>{base64.b64encode(b'salt').decode()}</Nonce><u:Created>{stamp}</u:Created></UsernameToken></Security>"
    )


INFORMATION = '<GetDeviceInformation xmlns="http://www.onvif.org/ver10/device/wsdl"/>'


def test_only_get_services_names_search_recording_and_replay(simulator: Simulator) -> None:
    camera = ONVIFCamera("127.0.0.1", simulator.port, USER, PASSWORD, adjust_time=True)
    with pytest.raises(ONVIFError, match="doesn`t support service"):
        camera.create_search_service()
    assert connect(simulator).create_search_service().GetRecordingSummary().NumberRecordings == len(CAMERAS)


def test_the_recorder_keeps_its_own_time(simulator: Simulator, camera: Any) -> None:
    told = camera.devicemgmt.GetSystemDateAndTime()
    date, time = told.UTCDateTime.Date, told.UTCDateTime.Time
    at = datetime(date.Year, date.Month, date.Day, time.Hour, time.Minute, time.Second, tzinfo=UTC)
    assert at - NOW == timedelta(seconds=37)
    assert told.TimeZone.TZ == "CST-8"
    assert told.LocalDateTime.Time.Hour == (time.Hour + 8) % 24


def test_a_client_that_trusts_its_own_clock_is_turned_away(recorder_media: Path) -> None:
    with Simulator(recorder_media, username=USER, password=PASSWORD) as simulator:
        with pytest.raises(ONVIFError, match="not authorized"):
            connect(simulator, adjust_time=False).devicemgmt.GetDeviceInformation()
        assert connect(simulator).devicemgmt.GetDeviceInformation().Manufacturer == "Diaoqu"


def test_a_wrong_password_is_turned_away(simulator: Simulator) -> None:
    with pytest.raises(ONVIFError, match="not authorized"):
        connect(simulator, "guess").devicemgmt.GetDeviceInformation()
    assert connect(simulator).devicemgmt.GetDeviceInformation().Model == "Simulated recorder"


def test_recordings_are_found_page_by_page(simulator: Simulator, camera: Any) -> None:
    search = camera.create_search_service()
    found = search.FindRecordings({"Scope": {}, "KeepAliveTime": timedelta(seconds=30)})
    pages = []
    while not pages or pages[-1].SearchState != "Completed":
        pages.append(search.GetRecordingSearchResults({"SearchToken": found, "MaxResults": 100}))
    recordings = [each for page in pages for each in page.RecordingInformation]
    assert len(pages) == 2
    assert [each.RecordingToken for each in recordings] == ["gate", "lobby", "garage", "counter"]
    assert [each.Source.Name for each in recordings] == ["大门", "大厅", "车库", "收银台"]
    assert [[(track.TrackToken, track.Description) for track in each.Track] for each in recordings][2:] == [
        [("VIDEO001", "H265")],
        [("VIDEO001", "H264"), ("AUDIO001", "PCMU")],
    ]
    held = recordings[0].LatestRecording - recordings[0].EarliestRecording
    assert timedelta(days=30) - held < timedelta(seconds=5)
    assert simulator.open_searches == 1
    search.EndSearch({"SearchToken": found})
    assert simulator.open_searches == 0


def find_states(camera: Any, recording: str, start: datetime, end: datetime) -> list[tuple[datetime, bool, bool]]:
    """(time, footage present, state at the start) of the recording's video track."""
    search = camera.create_search_service()
    asked = {
        "StartPoint": start,
        "EndPoint": end,
        "Scope": {"IncludedRecordings": [recording]},
        "SearchFilter": {},
        "IncludeStartState": True,
        "KeepAliveTime": timedelta(seconds=30),
    }
    found = search.FindEvents(asked)
    states, done = [], False
    while not done:
        page = search.GetEventSearchResults({"SearchToken": found, "MaxResults": 7})
        for event in page.Result:
            item = event.Event.Message._value_1.Data.SimpleItem[0]
            assert item.Name == "IsDataPresent"
            states.append((event.Time, item.Value == "true", event.StartStateEvent))
        done = page.SearchState == "Completed"
    search.EndSearch({"SearchToken": found})
    return states


def local(day: int, hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 2, day, hour, minute, second, tzinfo=LOCAL_TIME)


def test_the_events_tell_every_gap(camera: Any) -> None:
    assert find_states(camera, "lobby", local(11, 2, 0), local(12, 12, 3)) == [
        (local(11, 2, 0), True, True),
        (local(11, 3, 10), False, False),
        (local(11, 3, 25), True, False),
        (local(11, 12, 0), False, False),
        (local(11, 12, 6, 30), True, False),
        (local(12, 3, 10), False, False),
        (local(12, 3, 25), True, False),
        (local(12, 12, 0), False, False),
    ]


def test_a_month_of_events_takes_several_pages(camera: Any) -> None:
    states = find_states(camera, "lobby", NOW - timedelta(days=30), NOW)
    assert len(states) > 120
    assert [at for at, _, _ in states] == sorted(at for at, _, _ in states)
    assert all(before[1] != after[1] for before, after in pairwise(states[1:]))


def test_a_search_that_begins_inside_a_gap_says_so(camera: Any) -> None:
    states = find_states(camera, "lobby", local(11, 12, 3), local(11, 13, 0))
    assert [state[1:] for state in states] == [(False, True), (True, False)]


def test_a_gap_that_lasts_until_now_has_begun_but_not_ended(recorder_media: Path) -> None:
    now = local(11, 12, 3)
    with Simulator(recorder_media, clock=lambda: now, clock_offset=timedelta()) as simulator:
        states = find_states(connect(simulator), "lobby", now - timedelta(hours=1), now)
    assert states[1:] == [(local(11, 12, 0), False, False)]


def test_searching_backwards_begins_with_the_newest(camera: Any) -> None:
    states = find_states(camera, "lobby", local(11, 13, 0), local(11, 11, 0))
    assert [at for at, _, _ in states] == [local(11, 13, 0), local(11, 12, 6, 30), local(11, 12, 0)]


def test_a_complete_recording_has_only_the_state_at_the_start(simulator: Simulator, camera: Any) -> None:
    end = simulator.now() - timedelta(minutes=1)
    assert [state[1:] for state in find_states(camera, "gate", end - timedelta(days=3), end)] == [(True, True)]


def test_events_before_the_oldest_footage_say_that_there_is_none(simulator: Simulator, camera: Any) -> None:
    end = simulator.now()
    states = find_states(camera, "gate", end - timedelta(days=90), end)
    assert [state[1:] for state in states] == [(False, True), (True, False)]


def test_replay_and_live_addresses_are_those_of_the_rtsp_face(simulator: Simulator, camera: Any) -> None:
    replay, media = camera.create_replay_service(), camera.create_media_service()
    base = f"rtsp://127.0.0.1:{simulator.rtsp_port}"
    assert replay.GetReplayUri({"RecordingToken": "garage", "StreamSetup": SETUP}) == f"{base}/replay/garage"
    profiles = media.GetProfiles()
    assert [profile.Name for profile in profiles] == [camera.name for camera in CAMERAS]
    asked = {"ProfileToken": profiles[0].token, "StreamSetup": SETUP}
    assert media.GetStreamUri(asked).Uri == f"{base}/live/gate"


def test_the_recording_service_lists_the_same_recordings(simulator: Simulator, camera: Any) -> None:
    items = camera.create_recording_service().GetRecordings()
    assert [item.RecordingToken for item in items] == list(simulator.recorder.recordings)
    assert items[0].Configuration.MaximumRetentionTime == timedelta(days=30)
    information = camera.create_search_service().GetRecordingInformation({"RecordingToken": "lobby"})
    assert information.RecordingStatus == "Recording"


def test_an_unknown_recording_is_a_fault(camera: Any) -> None:
    with pytest.raises(ONVIFError, match="no recording attic"):
        camera.create_replay_service().GetReplayUri({"RecordingToken": "attic", "StreamSetup": SETUP})


def test_a_client_that_never_ends_its_searches_uses_them_up(recorder_media: Path) -> None:
    with Simulator(recorder_media) as simulator:
        search = connect(simulator).create_search_service()
        for _ in range(MAX_SEARCHES):
            search.FindRecordings({"Scope": {}, "KeepAliveTime": timedelta(minutes=1)})
        with pytest.raises(ONVIFError, match="searches"):
            search.FindRecordings({"Scope": {}, "KeepAliveTime": timedelta(minutes=1)})


def test_a_forgotten_search_expires(recorder_media: Path) -> None:
    with Simulator(recorder_media) as simulator:
        search = connect(simulator).create_search_service()
        found = search.FindRecordings({"Scope": {}, "KeepAliveTime": timedelta(0)})
        with pytest.raises(ONVIFError, match="expired"):
            search.GetRecordingSearchResults({"SearchToken": found})


def test_http_digest_is_an_alternative_to_the_token(simulator: Simulator) -> None:
    unsigned = post(simulator, INFORMATION)
    assert unsigned.status_code == 401
    assert re.findall(r"algorithm=([\w-]+)", unsigned.headers["WWW-Authenticate"]) == ["SHA-256", "MD5"]
    right = HTTPDigestAuth(USER, PASSWORD)
    assert post(simulator, INFORMATION, auth=right).status_code == 200
    assert post(simulator, INFORMATION, auth=HTTPDigestAuth(USER, "guess")).status_code == 401


def test_a_token_of_another_hour_is_refused(simulator: Simulator) -> None:
    assert post(simulator, INFORMATION, token(simulator.now())).status_code == 200
    late = post(simulator, INFORMATION, token(simulator.now() - timedelta(hours=1)))
    assert late.status_code == 400
    assert "ter:NotAuthorized" in late.text
    assert post(simulator, INFORMATION, token(simulator.now(), "guess")).status_code == 400


@pytest.mark.parametrize(
    ("body", "subcode"),
    [
        ("<Nonsense xmlns='urn:x'/>", "ter:ActionNotSupported"),
        ("<unclosed>", "ter:WellFormed"),
        ("", "ter:WellFormed"),
    ],
)
def test_what_is_not_understood_gets_a_proper_fault(recorder_media: Path, body: str, subcode: str) -> None:
    with Simulator(recorder_media, cameras=CAMERAS[:1]) as simulator:
        reply = post(simulator, body)
    assert reply.status_code in (400, 500)
    fault = etree.fromstring(reply.content).find(f"{{{SOAP}}}Body/{{{SOAP}}}Fault")
    assert fault is not None
    assert fault.findtext(f"{{{SOAP}}}Code/{{{SOAP}}}Subcode/{{{SOAP}}}Value") == subcode


def test_a_document_type_is_refused(simulator: Simulator) -> None:
    bomb = f'<!DOCTYPE x [<!ENTITY a "b">]><s:Envelope xmlns:s="{SOAP}"><s:Body>&a;</s:Body></s:Envelope>'
    assert requests.post(simulator.url, data=bomb, timeout=10).status_code == 400


def test_a_host_name_that_is_none_is_not_repeated(simulator: Simulator) -> None:
    services = '<GetServices xmlns="http://www.onvif.org/ver10/device/wsdl"/>'
    reply = post(simulator, services, headers={"Host": "<evil>\x01"})
    assert reply.status_code == 200
    assert b"http://127.0.0.1/onvif/search" in reply.content
    assert (
        b"http://recorder.example:81/onvif/search"
        in post(simulator, services, headers={"Host": "recorder.example:81"}).content
    )


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/onvif/media", 405), ("POST", "/admin", 404)])
def test_other_requests_get_their_http_status(simulator: Simulator, method: str, path: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    connection.request(method, path, body=b"" if method == "POST" else None)
    assert connection.getresponse().status == status
    connection.close()


def test_calls_are_counted(simulator: Simulator, camera: Any) -> None:
    before = simulator.calls["tds:GetDeviceInformation"]
    camera.devicemgmt.GetDeviceInformation()
    assert simulator.calls["tds:GetDeviceInformation"] == before + 1


def test_on_the_command_line_it_serves_until_it_is_told_to_end(recorder_media: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from device.simulator import CAMERAS, Simulator\n"
        "with Simulator(Path(sys.argv[1]), cameras=CAMERAS[:1]) as simulator:\n"
        "    simulator.serve_forever(lambda it: print(it.url, flush=True))\n"
        "print('ended')"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(recorder_media)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert requests.get(url, timeout=10).status_code == 405
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "ended\n"
    assert process.returncode == 0
