"""Finding recorders: who answers a question on the network, over real sockets, and what a liar can do with it."""

import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from device.cli import recorder as group
from device.recorders import discovery
from device.recorders.base import DeviceError
from device.recorders.discovery import GROUP, Found, discover, read
from device.simulator import Simulator
from device.simulator.command import simulate_recorder
from device.simulator.discovery import endpoint

PACKAGE = Path(__file__).parents[3] / "web" / "assets" / "node_modules" / "onvif"
SEEKER = Path(__file__).with_name("onvif_seeker.cjs")
SCOPE = "onvif://www.onvif.org/"
LOOPBACK = ("127.0.0.1",)
ASKED = {"00000000-0000-4000-8000-000000000001"}


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    """On the group, as recorders are; others may be there at the same time."""
    with Simulator(recorder_media, discoverable=(GROUP, discovery.PORT)) as simulator:
        yield simulator


def match(id_: str, *scopes: str, at: str = "http://192.0.2.7/onvif/device_service", **parts: str) -> str:
    return (
        f"<d:ProbeMatch><a:EndpointReference><a:Address>{id_}</a:Address></a:EndpointReference>"
        f"<d:Types>{parts.get('types', 'dn:NetworkVideoTransmitter tds:Device')}</d:Types>"
        f"<d:Scopes>{' '.join(SCOPE + scope for scope in scopes)}</d:Scopes><d:XAddrs>{at}</d:XAddrs>"
        f"<d:MetadataVersion>{parts.get('version', '1')}</d:MetadataVersion></d:ProbeMatch>"
    )


def answer(*matches: str, to: str = next(iter(ASKED)), before: str = "") -> bytes:
    return (
        f'{before}<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery">'
        f"<s:Header><a:RelatesTo>urn:uuid:{to}</a:RelatesTo></s:Header>"
        f"<s:Body><d:ProbeMatches>{''.join(matches)}</d:ProbeMatches></s:Body></s:Envelope>"
    ).encode()


@contextmanager
def somebody(reply: Callable[[str, int], list[bytes]]) -> Iterator[tuple[str, int]]:
    """Answers each question on a port of its own with whatever `reply` makes of its id and its number."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("127.0.0.1", 0))

        def serve() -> None:
            number = 0
            while (received := line.recvfrom(65536))[0] != b"enough":
                question, asker = received
                found = re.search(rb"urn:uuid:([0-9a-f-]{36})", question)
                assert found is not None
                number += 1
                for datagram in reply(found[1].decode(), number):
                    line.sendto(datagram, asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield line.getsockname()
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"enough", line.getsockname())
            thread.join()


@pytest.fixture
def until(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], float]:
    """Let a search end with so many answers instead of after a time; answers the time it may take at most."""

    def limit(answers: int) -> float:
        monkeypatch.setattr(discovery, "MAX_ANSWERS", answers)
        return 60.0

    return limit


@pytest.fixture
def heard(until: Callable[[int], float]) -> Callable[..., list[Found]]:
    """What `discover` makes of these answers to each of its two questions, `%s` in them being the question's id."""

    def search(*replies: bytes) -> list[Found]:
        with somebody(lambda id_, _: [each.replace(b"%s", id_.encode()) for each in replies]) as address:
            return discover(until(2 * len(replies)), address=address)

    return search


def seen(simulator: Simulator) -> Found:
    """The simulated recorder, looked for on the group with more and more patience."""
    for seconds in (0.4, 2, 20):
        for each in discover(seconds, LOOPBACK):
            if each.endpoint == endpoint(simulator.url):
                return each
    raise AssertionError("it is not found")


def one(*scopes: str, **parts: str) -> Found:
    (found,) = read(answer(match("urn:uuid:1", *scopes, **parts)), ASKED, "192.0.2.7")
    return found


# ---- the simulated recorder -----------------------------------------------------------------------------------------


def test_a_recorder_on_the_network_is_found_with_name_profiles_and_address(simulator: Simulator) -> None:
    found = seen(simulator)
    assert (found.name, found.profiles, found.addresses) == ("Simulated_recorder", ("G",), (simulator.url,))
    assert (found.is_recorder, found.answered_by) == (True, LOOPBACK)


def test_its_addresses_are_shown_and_not_contacted(simulator: Simulator) -> None:
    before = sum(simulator.calls.values())
    assert seen(simulator)
    assert sum(simulator.calls.values()) == before


def test_an_independent_library_finds_the_simulated_recorder(simulator: Simulator) -> None:
    command = ["node", str(SEEKER), str(PACKAGE), endpoint(simulator.url)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["XAddrs"], found["metadataVersion"]) == (simulator.url, 1)


def test_a_recorder_can_be_asked_alone_and_is_gone_when_it_is_off(
    recorder_media: Path, until: Callable[[int], float]
) -> None:
    with Simulator(recorder_media, discoverable=("127.0.0.1", 0)) as simulator:
        assert simulator.discoverable is not None
        assert [each.addresses for each in discover(until(2), address=simulator.discoverable)] == [(simulator.url,)]
    assert discover(0.1, address=simulator.discoverable) == []


def test_it_answers_only_questions_that_it_matches(recorder_media: Path) -> None:
    """Another type, another scope, and no question at all; a scope is matched by whole segments."""

    def asks(types: str, scopes: str = "") -> bytes:
        return (
            answer(to=str(uuid4()))
            .replace(
                b"<d:ProbeMatches></d:ProbeMatches>",
                f'<d:Probe xmlns:n="urn:n" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><d:Types>{types}</d:Types>'
                f"<d:Scopes>{scopes}</d:Scopes></d:Probe>".encode(),
            )
            .replace(b"a:RelatesTo>", b"a:MessageID>")
        )

    silent = [asks("n:Device"), asks("dn:Printer"), asks("x:y"), asks("", f"{SCOPE}Profil"), b"<", b"<a/>"]
    with (
        Simulator(recorder_media, discoverable=("127.0.0.1", 0)) as simulator,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line,
    ):
        assert simulator.discoverable is not None
        line.settimeout(20)
        last = asks("dn:NetworkVideoTransmitter", f"{SCOPE}Profile {SCOPE}name/Simulated_recorder/")
        for question in (*silent, last):
            line.sendto(question, simulator.discoverable)
        expected = re.search(rb"urn:uuid:[0-9a-f-]{36}", last)
        assert expected is not None
        assert expected[0] in line.recv(65536), "the first answer is that to the last question"


# ---- what devices say of themselves ---------------------------------------------------------------------------------


def test_scopes_tell_name_model_location_and_profiles() -> None:
    found = one(
        "name/%E5%A4%A7%E9%97%A8%20NVR",
        "hardware/X-1",
        "location/country/china",
        "location/city/x",
        "Profile/Streaming",
    )
    assert (found.name, found.model, found.location, found.profiles) == ("大门 NVR", "X-1", "china, x", ("S",))


@pytest.mark.parametrize(
    ("scopes", "types", "signs"),
    [
        (("Profile/G", "hardware/IPC"), "", ("Profile G",)),
        (("type/Network_Video_Recorder",), "", ("Network_Video_Recorder",)),
        ((), "dn:NetworkVideoStorage", ("NetworkVideoStorage",)),
        (("hardware/DHI-NVR4104HS",), "", ("DHI-NVR4104HS",)),
        (("hardware/DS-7608NI-K2",), "", ("DS-7608NI-K2",)),
        (("name/DS-2CD2032-I", "hardware/IPC", "Profile/Streaming", "Profile/T"), "dn:NetworkVideoTransmitter", ()),
        (("name/Convrter",), "", ()),
    ],
)
def test_what_keeps_recordings_is_told_from_a_plain_camera(
    scopes: tuple[str, ...], types: str, signs: tuple[str, ...]
) -> None:
    found = one(*scopes, types=types)
    assert (found.signs, found.is_recorder) == (signs, bool(signs))


def test_the_address_at_the_host_that_answered_comes_first() -> None:
    behind, own = "http://10.0.0.9/onvif/device_service", "http://192.0.2.7/onvif/device_service"
    assert one(at=f"{behind} {own}").addresses == (own, behind)


def test_addresses_that_no_driver_could_use_are_left_out() -> None:
    useless = "file:///etc/passwd ftp://192.0.2.7/ http:// http://[::1 http://u:p@192.0.2.7/ http://192.0.2.7:99999/"
    assert one(at=f"{useless} https://192.0.2.7/x").addresses == ("https://192.0.2.7/x",)


def test_answers_of_one_device_are_merged_and_the_newer_metadata_count(heard: Callable[..., list[Found]]) -> None:
    newer = match("urn:uuid:A-1", "name/new", at="http://10.0.0.1/", version="3")
    older = match("uuid:a-1", "name/old", at="http://10.0.0.2/", version="2")
    for order in ([older, newer], [newer, older]):
        (found,) = heard(*(answer(each, to="%s") for each in order))
        assert (found.name, set(found.addresses)) == ("new", {"http://10.0.0.1/", "http://10.0.0.2/"})


def test_recorders_come_before_cameras(heard: Callable[..., list[Found]]) -> None:
    found = heard(answer(match("1", "name/a"), match("2", "name/b", "Profile/G"), to="%s"))
    assert [each.name for each in found] == ["b", "a"]


# ---- liars ----------------------------------------------------------------------------------------------------------

BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"\x00" * 60_000,
        b"<" * 60_000,
        b"<a>" * 20_000,
        answer(match("1"), to="00000000-0000-4000-8000-00000000ffff"),
        answer(match("1")).replace(b"RelatesTo", b"MessageID"),
        answer(match("&b;&c;"), before=BOMB),
        answer(match("")).replace(b"http:", b""),
        answer().replace(b"Envelope", b"Letter"),
    ],
    ids=["nothing", "zeros", "brackets", "deep", "foreign", "unrelated", "entities", "nameless", "no envelope"],
)
def test_what_is_no_answer_to_our_question_is_passed_over(lie: bytes) -> None:
    assert read(lie, ASKED, "192.0.2.7") == []


@given(st.binary(max_size=200), st.integers(0, 900))
def test_no_bytes_in_an_answer_raise_or_show_a_control_character(junk: bytes, at: int) -> None:
    whole = answer(match("urn:uuid:1", "name/a%1B%00b", "hardware/x", "location/%E2%80%AEy"))
    for found in read(whole[:at] + junk + whole[at:], ASKED, "192.0.2.7"):
        assert all(text.isprintable() for text in (found.endpoint, found.name, found.model, found.location))
        assert all(text.isprintable() for text in (*found.types, *found.scopes, *found.addresses, *found.profiles))


def test_texts_and_lists_of_one_device_have_an_end() -> None:
    found = one("name/" + "x" * 5000, *(f"Profile/{number}" for number in range(500)), at="http://h/ " * 500)
    assert max(len(found.name), *map(len, found.scopes)) <= discovery.MAX_TEXT
    assert (len(found.scopes), len(found.addresses)) == (discovery.MAX_SCOPES, discovery.MAX_ADDRESSES)
    assert one(version="9" * 5000).metadata_version == one(version="-1").metadata_version == 0


def test_one_sender_cannot_fill_the_list_with_devices_that_are_not_there(heard: Callable[..., list[Found]]) -> None:
    crowd = [match(f"uuid:{number}") for number in range(200)]
    found = heard(*(answer(*crowd[at : at + 20], to="%s") for at in range(0, 200, 20)))
    assert len(found) == discovery.MAX_FROM_ONE
    assert len(read(answer(*crowd), ASKED, "192.0.2.7")) == discovery.MAX_MATCHES


def test_a_flood_ends_the_search_and_not_the_program(until: Callable[[int], float]) -> None:
    flood = [b"<x/>"] * 60
    with somebody(lambda id_, _: [answer(match("uuid:1"), to=id_), *flood]) as address:
        assert len(discover(until(50), address=address)) == 1


# ---- asking ---------------------------------------------------------------------------------------------------------


def test_a_lost_question_is_asked_once_more(until: Callable[[int], float]) -> None:
    with somebody(lambda id_, number: [answer(match("uuid:1"), to=id_)] if number > 2 else []) as address:
        assert len(discover(until(1), address=address)) == 1


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(DeviceError, match="no host"):
        discover(0.1, address=("no.such.host.invalid", 3702))
    with pytest.raises(DeviceError, match="could not be asked"):
        discover(0.1, ("192.0.2.250",))  # no address of this machine


# ---- the command ----------------------------------------------------------------------------------------------------


def run(*arguments: str, timeout: float = 0.3) -> Result:
    return CliRunner().invoke(group, ["discover", "--timeout", str(timeout), *arguments])


def test_the_command_shows_a_table_to_people_and_a_list_to_programs(until: Callable[[int], float]) -> None:
    nvr = match("uuid:2", "name/[red]Hall%0A", "hardware/NVR-4", "Profile/G", "Profile/T", at="http://192.0.2.8/x")
    camera = match("uuid:1", "name/Gate", "hardware/IPC", at="")
    with somebody(lambda id_, _: [answer(camera, nvr, to=id_)]) as (host, port):
        asked = ("--address", f"{host}:{port}")
        shown, told = run(*asked, timeout=until(2)), run(*asked, "--json", timeout=until(2))
    lines = [re.split(r"  +", line.strip()) for line in shown.stdout.splitlines()]
    assert lines == [
        ["Name", "Model", "Address", "Profiles"],
        ["recorder", "[red]Hall", "NVR-4", "http://192.0.2.8/x", "G T"],
        ["camera", "Gate", "IPC", "none given (127.0.0.1 answered)"],
    ]
    found = json.loads(told.stdout)
    assert [(each["endpoint"], each["recorder"], each["profiles"]) for each in found] == [
        ("uuid:2", True, ["G", "T"]),
        ("uuid:1", False, []),
    ]
    assert (shown.exit_code, told.exit_code) == (0, 0)


def test_silence_ends_with_1_and_says_what_to_check() -> None:
    with somebody(lambda *_: []) as (host, port):
        silent = run("--address", f"{host}:{port}", "--json")
    assert (silent.exit_code, json.loads(silent.stdout)) == (1, [])
    assert all(word in silent.stderr for word in ("segment", "multicast", "firewall", "--interface"))


def test_the_page_on_recorders_names_the_options_that_there_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "recorders.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^diaoqu recorder discover .*$", page, re.MULTILINE)
    shown = re.findall(r"--[a-z]+", run("--help").stdout)
    assert set(re.findall(r"--[a-z]+", line)) == set(shown) - {"--help"}
    assert "--discoverable" in CliRunner().invoke(simulate_recorder, ["--help"]).stdout


@pytest.mark.parametrize(
    "wrong", [("--timeout", "0"), ("--interface", "eth0"), ("--address", "h:99999"), ("--address", ":1")]
)
def test_wrong_use_of_the_command_ends_with_2(wrong: tuple[str, str]) -> None:
    assert run(*wrong).exit_code == 2


def test_the_simulated_recorder_answers_on_this_machine_only(recorder_media: Path) -> None:
    arguments = ["--media", str(recorder_media), "--discoverable", "--discovery-address", "192.0.2.2:0"]
    refused = CliRunner().invoke(simulate_recorder, arguments)
    assert (refused.exit_code, "this machine only" in refused.stderr) == (1, True)
