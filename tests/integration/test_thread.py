"""The whole thread on real parts: recorder, web and worker as processes, one request over HTTP, one verified bag."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from holdings import bagit, held, manifest, pictures, report_of, tree
from premises import OFFSET, Premises, RecorderProcess, of_this_morning
from processes import eventually

from engine.settings import ROOT

CODECS = {"gate": "H264", "garage": "H265"}


@pytest.fixture(scope="module")
def thread(
    founded: Premises, recorder: RecorderProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Premises, str, dict[str, Any]]]:
    """An installation with one request that went all the way, its instance, and the data at its end."""
    premises = founded.copy(tmp_path_factory.mktemp("thread") / "data")
    premises.start_web()
    premises.start_worker()
    try:
        # neither end of the span is a key frame, nor any frame at all
        instance = premises.apply(["gate", "garage"], *of_this_morning(1.5, seconds=3.47))
        yield premises, instance, premises.lead(instance)
    finally:
        premises.stop()


def bag_of(data: dict[str, Any]) -> Path:
    return Path(data["archive"]["path"])


def diaoqu(premises: Premises, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DIAOQU_DATA": str(premises.folder)}
    command = [sys.executable, "-m", "web.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_bag_validates_with_bagits_own_command_line_on_both_stores(thread: Any) -> None:
    _premises, _instance, data = thread
    primary, backup = bag_of(data), Path(data["archive"]["backup"])
    for bag in (primary, backup):
        checked = bagit(bag)
        assert checked.returncode == 0, checked.stderr
    assert tree(primary) == tree(backup)


def test_bagits_command_line_sees_a_single_changed_byte(thread: Any, tmp_path: Path) -> None:
    """So that the test above can fail."""
    _premises, _instance, data = thread
    copy = tmp_path / "bag"
    subprocess.run(["cp", "-r", str(bag_of(data)), str(copy)], check=True)
    (master,) = (copy / "data" / "footage").glob("gate-*.mkv")
    master.chmod(0o600)
    with master.open("r+b") as file:
        file.seek(master.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    assert bagit(copy).returncode == 1


@pytest.mark.parametrize("camera", CODECS)
def test_the_footage_in_the_bag_has_exactly_the_frames_that_the_recorder_holds(
    thread: Any, recorder_media: Path, camera: str
) -> None:
    _premises, _instance, data = thread
    bag = bag_of(data)
    report = report_of(bag, camera)
    with_lead_in, asked_for = held(recorder_media, camera, report)
    (master,) = (bag / "data" / "footage").glob(f"{camera}-*.mkv")
    assert pictures(master, CODECS[camera]) == [frame.digest for frame in with_lead_in]
    assert len(asked_for) == pytest.approx(90 * 12.5, abs=1)
    lead_in = len(with_lead_in) - len(asked_for)
    assert 0 < lead_in < 25, "the span begins within a group of pictures, which cannot be decoded without its beginning"
    assert with_lead_in[lead_in:] == asked_for
    offset = timedelta(seconds=report["clock"]["offset"])
    assert abs(offset - OFFSET) < timedelta(seconds=1)
    assert datetime.fromisoformat(report["first_frame"]) == with_lead_in[0].time - offset
    assert datetime.fromisoformat(report["last_frame"]) == with_lead_in[-1].time - offset
    assert (report["frames"], report["packets_lost"], report["gaps"]) == (len(with_lead_in), 0, [])
    assert (report["complete"], report["confidence"]) == (True, "high")


def test_the_digest_taken_at_the_acquisition_is_the_one_in_the_manifest(thread: Any) -> None:
    _premises, _instance, data = thread
    bag = bag_of(data)
    reported = {camera: report_of(bag, camera)["sha256"].removeprefix("sha256:") for camera in CODECS}
    assert manifest(bag, "footage") == reported
    backed_up = {
        copy["sha256"].removeprefix("sha256:") for copy in data["backup"]["copies"] if copy["kind"] == "master"
    }
    assert backed_up == set(reported.values())


def test_the_bag_has_both_forms_the_history_and_the_diagram(thread: Any) -> None:
    _premises, instance, data = thread
    content = bag_of(data) / "data"
    for form in ("application_form.pdf", "record_form.pdf"):
        assert (content / "forms" / form).read_bytes().startswith(b"%PDF-")
    assert (content / "diagram" / "footage_retrieval.bpmn").read_bytes() == (
        ROOT / "bpmn" / "footage_retrieval.bpmn"
    ).read_bytes()
    heads = orjson.loads((content / "history" / "heads.json").read_bytes())
    assert (heads["instance"], heads["case"]) == (instance, data["case"]["number"])
    signed = orjson.loads((content / "forms" / "signatures.json").read_bytes())
    assert [one["element"] for one in signed] == ["sign_application", "complete_record", "countersign_record"]


def test_the_history_verifies_over_http_and_on_the_command_line(thread: Any) -> None:
    premises, instance, data = thread
    verdict = premises.ask("auditor", "GET", f"/instances/{instance}/verification")
    assert (verdict["ok"], verdict["findings"]) == (True, [])
    for arguments in ((instance,), ("--all",), ("--bag", str(bag_of(data)))):
        checked = diaoqu(premises, "verify", *arguments)
        assert (checked.returncode, checked.stderr) == (0, ""), checked


def test_nothing_is_left_over(thread: Any) -> None:
    premises, instance, _data = thread
    assert {job.state for job in premises.jobs(instance)} == {"done"}

    def cleared() -> bool:  # the worker tidies up after a job's result is stored, not before
        scratch = [path for path in (premises.folder / "scratch").rglob("*") if path.is_file()]
        return not scratch and not list(premises.folder.rglob(".incoming/*"))

    eventually(cleared, "no scratch files and nothing half-copied")
    for log in ("web.log", "worker.log"):
        assert "Traceback" not in (premises.folder / log).read_text()
