"""`diaoqu recorder …` as people and programs call it: output, files, exit status."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from replay_room import OFFSET, pictures

from device import media
from device.cli import recorder as group
from device.cli import simulate_recorder
from device.recorders.base import Span
from device.simulator import Simulator

DIAOQU = [sys.executable, "-c", "from device.cli import recorder; recorder(prog_name='diaoqu recorder')"]


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="operator", password="secret", clock_offset=OFFSET) as simulator:
        yield simulator


@pytest.fixture
def login(simulator: Simulator, tmp_path: Path) -> list[str]:
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    return ["--url", simulator.url, "--user", "operator", "--password-file", str(secret)]


def run(*arguments: str, command: click.Command = group) -> Result:
    return CliRunner().invoke(command, list(arguments))


def ago(hours: float, seconds: float = 0) -> str:
    at = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - timedelta(hours=hours)
    return (at + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def gap_of_last_noon() -> datetime:
    """When the lobby's camera last began to miss 6½ minutes: noon in China, by the recorder's clock."""
    today = datetime.now(UTC).replace(hour=4, minute=0, second=0, microsecond=0)
    return (today if today < datetime.now(UTC) - timedelta(hours=1) else today - timedelta(days=1)) - OFFSET


def span(start: str, end: str, recording: str = "gate") -> list[str]:
    return ["--recording", recording, "--from", start, "--to", end]


def test_probe_speaks_to_people_and_to_programs(login: list[str]) -> None:
    told = run("probe", *login)
    assert told.exit_code == 0
    assert "Simulated recorder" in told.stdout
    assert "ahead of true time" in told.stdout
    found = json.loads(run("probe", *login, "--json").stdout)
    assert abs(found["clock"]["offset_seconds"] - 37) < 0.5
    assert found["clock"]["uncertainty_seconds"] > 0


def test_recordings_are_a_list_of_tokens_with_bounds_and_tracks(login: list[str]) -> None:
    found = json.loads(run("recordings", *login, "--json").stdout)
    assert [set(each) for each in found] == [{"token", "camera", "from", "until", "tracks"}] * 4
    assert found[3]["tracks"] == ["video/H264", "audio/PCMU"]


def test_coverage_says_complete_with_zero_and_partial_with_one(login: list[str]) -> None:
    whole = run("coverage", *login, *span(ago(5), ago(5, 60)), "--json")
    assert (whole.exit_code, json.loads(whole.stdout)["status"]) == (0, "complete")
    begin = gap_of_last_noon()
    asked = span((begin - timedelta(minutes=1)).isoformat(), (begin + timedelta(minutes=1)).isoformat(), "lobby")
    part = run("coverage", *login, *asked, "--json")
    assert part.exit_code == 1
    assert json.loads(part.stdout)["gaps"][0][2] == "not_recorded"


def test_export_writes_the_footage_and_its_report(simulator: Simulator, login: list[str], tmp_path: Path) -> None:
    out, report = tmp_path / "clip.mkv", tmp_path / "report.json"
    done = run("export", *login, *span(ago(5), ago(5, 10)), "--out", str(out), "--report", str(report))
    assert (done.exit_code, done.stderr) == (0, "")
    facts = json.loads(report.read_text())
    assert facts["complete"] is True
    assert facts["sha256"] == media.sha256(out)
    assert facts["replay_uri"] == simulator.replay_uri("gate")
    assert {"requested", "first_frame", "last_frame", "frames", "packets_lost", "gaps", "clock", "end_reason"} <= set(
        facts
    )
    offset = timedelta(seconds=facts["clock"]["offset"])
    start, end = (datetime.fromisoformat(facts["requested"][key]) for key in ("start", "end"))
    expected = simulator.frames("gate", Span(start + offset, end + offset), lead_in=True)
    assert pictures(out) == [frame.digest for frame in expected]


def test_export_of_a_span_with_a_gap_ends_with_one_and_writes_both_files(login: list[str], tmp_path: Path) -> None:
    begin = gap_of_last_noon()
    asked = span((begin - timedelta(seconds=20)).isoformat(), (begin + timedelta(seconds=20)).isoformat(), "lobby")
    out, report = tmp_path / "clip.mkv", tmp_path / "report.json"
    done = run("export", *login, *asked, "--out", str(out), "--report", str(report))
    assert done.exit_code == 1
    assert "not complete" in done.stderr
    assert "missing" in done.stdout
    assert out.is_file()
    assert json.loads(report.read_text())["complete"] is False


def test_a_replay_address_alone_is_enough_to_export(simulator: Simulator, login: list[str], tmp_path: Path) -> None:
    address = ["--rtsp", simulator.replay_uri("gate"), *login[2:]]
    done = run("export", *address, *span(ago(5), ago(5, 5)), "--out", str(tmp_path / "clip.mkv"), "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["complete"] is True


def test_existing_files_are_kept_unless_forced(login: list[str], tmp_path: Path) -> None:
    out = tmp_path / "clip.mkv"
    out.write_text("evidence")
    arguments = ["export", *login, *span(ago(5), ago(5, 5)), "--out", str(out)]
    refused = run(*arguments)
    assert (refused.exit_code, out.read_text()) == (2, "evidence")
    assert run(*arguments, "--force").exit_code == 0
    assert out.read_bytes()[:4] == b"\x1a\x45\xdf\xa3"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "2026-02-01T10:00:00", "--to", "2026-02-01T11:00:00Z"], "no time zone"),
        (["--from", "yesterday", "--to", "2026-02-01T11:00:00Z"], "no ISO 8601 time"),
        (["--from", "2026-02-01T11:00:00Z", "--to", "2026-02-01T10:00:00Z"], "end after it begins"),
        (["--from", "2026-02-01T10:00:00Z"], "--to"),
    ],
)
def test_a_span_that_is_none_is_wrong_use(login: list[str], arguments: list[str], words: str) -> None:
    done = run("coverage", *login, "--recording", "gate", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_no_recorder_and_no_recording_are_wrong_use(login: list[str]) -> None:
    assert run("probe").exit_code == 2
    assert run("coverage", *login, "--from", ago(5), "--to", ago(4)).exit_code == 2


def test_a_wrong_password_and_an_unreachable_recorder_are_one_line_and_status_one(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("guess")
    wrong = run("probe", "--url", simulator.url, "--user", "operator", "--password-file", str(tmp_path / "password"))
    nobody = run("probe", "--url", "http://127.0.0.1:1/", "--timeout", "1")
    for done, words in ((wrong, "password"), (nobody, "No connection")):
        assert done.exit_code == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_on_a_terminal_a_bar_shows_the_way(login: list[str], tmp_path: Path) -> None:
    near, far = pty.openpty()
    arguments = ["export", *login, *span(ago(9), ago(9, 600)), "--out", str(tmp_path / "clip.mkv")]
    environment: dict[str, Any] = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([*DIAOQU, *arguments], stdout=subprocess.PIPE, stderr=far, env=environment)
    os.close(far)
    shown = b""
    try:
        while data := os.read(near, 4096):
            shown += data
    except OSError:
        pass  # the far side is closed
    os.close(near)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"%" in shown
    assert b"clip.mkv" in printed


def test_the_simulated_recorder_serves_until_it_is_told_to_stop(recorder_media: Path) -> None:
    code = "from device.cli import simulate_recorder; simulate_recorder()"
    command = [sys.executable, "-c", code, "--media", str(recorder_media), "--clock-offset", "-5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        found = json.loads(run("probe", "--url", url, "--json").stdout)
        assert abs(found["clock"]["offset_seconds"] + 5) < 0.5
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_simulated_user_needs_a_password() -> None:
    assert run("--user", "operator", command=simulate_recorder).exit_code == 2
