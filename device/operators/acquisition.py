"""Copying footage from recorders (clause 3.2): masters, their native files, and the report of how they came.

A long span becomes several masters, an hour each (`device.segments`), and so does one interrupted by the end of
the recorder's hours; the first stands for all of them, the others name it as their master. Finished segments lie in
`<data>/segments/` until the last one is there. They outlive the job: one that was killed, and a new one after a full
disk or a recorder that went away, go on after the last finished segment.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import evidence, registers, unfinished
from device.evidence import Described
from device.models import Camera, Case, EvidenceItem
from device.operators.running import (
    DISK_FULL,
    PATIENCE,
    RECORDER_REFUSED,
    RECORDER_UNREACHABLE,
    bytes_done,
    case_of,
    modelled,
    span_of,
)
from device.recorders.base import (
    Part,
    PlayingRecorder,
    Recorder,
    RecorderBusyError,
    RecorderUnreachableError,
    Span,
)
from device.registers import RegisteredCamera
from device.segments import SegmentedAcquisition, is_long, take_over
from device.storage import DigestMismatchError, FixityError, hash_file, make_folder, write_file
from engine import clock
from engine.errors import N_, PostponedError, sentence_of
from engine.operators import JobContext, operator

FINISHED = "finished.json"
COPIES = 2
"""On the disk of the working folder: the master and its viewing copy."""

LARGEST_REPORT = 50_000
"""Bytes of a report that travel through the process; the whole of it is a file of the case."""

LONGEST_LIST = 50

BREATH = timedelta(seconds=10)


def playback_of_recorder(session: Session, params: Mapping[str, Any]) -> tuple[str, int, str]:
    """A recorder allows a limited number of playbacks at once, usually one (FINDINGS)."""
    camera = session.scalar(select(Camera).where(Camera.key == str(params.get("camera", ""))))
    if camera is None:
        return "", 1, "main"
    return registers.playback_key(camera.recorder.key), camera.recorder.sessions, camera.recorder.site


@operator(
    "recorder/acquire",
    zh="调取录像",
    en="Copy the footage",
    errors=(RECORDER_UNREACHABLE, RECORDER_REFUSED, DISK_FULL),
    retries=20,
    exclusive=playback_of_recorder,
)
def acquire(context: JobContext, *, camera: str, start_at: str, end_at: str) -> dict[str, Any]:
    """Copy the span from the recorder untouched, hash it, and make it the read-only master of this camera.

    Killed at any moment and started again, it ends with the same masters and one report: finished segments are kept, an
    unfinished one is begun anew, a published one is verified and returned. Outside the recorder's hours it waits.
    """
    asked = span_of(start_at, end_at)
    case = case_of(context)
    stem = f"{camera}-{context.task_id.hex[:8]}"
    with modelled(context):
        published = _published(context, case, f"masters/{stem}.mkv")
        if published is None or (context.scratch / FINISHED).is_file():
            noted = _copied(context, camera, asked, stem)
            context.progress(fraction=1.0)  # raises when the lease is lost: nothing is published then
            item, report = _publish(context, case, camera, stem, noted), noted["report"]
        else:
            item, report = published
        _publish_report(context, case, item, camera, stem, report)
        shutil.rmtree(_place_of_segments(context, camera, asked), ignore_errors=True)
    return {"camera": camera, "item": item, "report": _brief(report), "complete": bool(report["complete"])}


def _published(context: JobContext, case: Case, path: str) -> tuple[int, dict[str, Any]] | None:
    """The master that an earlier attempt of this job has published. Raises FixityError when it is damaged."""
    with context.database.reading() as session:
        query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.path == path)
        item = session.scalar(query)
        if item is None:
            return None
        evidence.verify_item(session, context.settings, item)
        return item.id, dict(item.facts.get("whole") or item.facts["report"])


# ---- copying --------------------------------------------------------------------------------------------------------


def _copied(context: JobContext, key: str, asked: Span, stem: str) -> dict[str, Any]:
    """What lies ready to be published: the report and the files, each with its own report and the folder it lies in.

    Of an earlier attempt when that one finished.
    """
    finished = context.scratch / FINISHED
    if finished.is_file():
        return dict(orjson.loads(finished.read_bytes()))
    with context.database.reading() as session:
        camera = registers.registered(session, context.settings, key)
    _keep_hours(camera)
    # Half a recording is better than none, but only when trying again has brought no more.
    recorder = camera.connect(keep_partial=context.attempt >= PATIENCE or context.last_attempt)
    span = _approved_span(context, key, asked)

    def tell(facts: Mapping[str, Any]) -> None:
        context.progress(**{**facts, "camera": camera.name, "recorder": camera.recorder_name})

    if isinstance(recorder, PlayingRecorder) and (camera.hours or is_long(span, _length(context))):
        noted = _in_segments(context, camera, recorder, asked, span, tell)
    else:
        # Each attempt writes to its own folder: one that was only paused may wake up and still be writing.
        target = context.scratch / str(context.epoch) / f"{stem}.mkv"
        target.parent.mkdir(parents=True, exist_ok=True)
        report = recorder.acquire(camera.recording, span, target, tell, Part(copies=COPIES)).to_json()
        noted = {"report": report, "files": [{"folder": str(target.parent), "report": report}]}
    _compare(context, camera, noted)
    write_file(finished, orjson.dumps(noted))
    return noted


def _keep_hours(camera: RegisteredCamera) -> None:
    """Raises PostponedError outside the hours in which the recorder may be asked for footage."""
    opens_at = camera.opens_at(clock.now())
    if opens_at is not None:
        raise PostponedError(
            N_("%(recorder)s gives footage only %(hours)s; this goes on at %(at)s."),
            until=opens_at,
            recorder=camera.recorder_name,
            hours=camera.hours,
            at=f"{opens_at.astimezone(ZoneInfo(camera.zone)):%Y-%m-%d %H:%M %Z}",
        )


def _length(context: JobContext) -> timedelta:
    return timedelta(minutes=context.settings.segment_minutes)


def _in_segments(
    context: JobContext, camera: RegisteredCamera, recorder: Recorder, asked: Span, span: Span, tell: Any
) -> dict[str, Any]:
    """Retrieve a span in segments; a broken line costs no attempt, and when the hours end, so does the segment."""
    place = _place_of_segments(context, camera.key, asked)
    folder = place / f"{context.job_id.hex[:12]}-{context.epoch}"
    finished = take_over(place, folder)
    acquisition = SegmentedAcquisition(
        recorder,
        camera.recording,
        span,
        folder,
        _length(context),
        COPIES,
        pause=lambda: _keep_hours(camera),
        closing=lambda: camera.opens_at(clock.now()) is not None,
    )
    try:
        report = acquisition.acquire(tell)
    except (RecorderUnreachableError, RecorderBusyError) as error:
        came = acquisition.count() - finished
        if came > 0:
            raise PostponedError(
                N_("%(count)s segments came from %(recorder)s before this: %(reason)s It goes on at once."),
                until=clock.now() + BREATH,
                count=came,
                recorder=camera.recorder_name,
                reason=sentence_of(error),
            ) from error
        raise
    files = [{"folder": str(folder), "report": each} for each in acquisition.reports()]
    return {"report": report if len(files) > 1 else files[0]["report"], "files": files}


def _place_of_segments(context: JobContext, camera: str, asked: Span) -> Path:
    """Where the attempts at this camera and span keep their segments, each in a folder of its own."""
    of = hashlib.sha256(f"{asked.start.isoformat()} {asked.end.isoformat()}".encode()).hexdigest()[:12]
    return unfinished.place_of(context.settings, context.instance_id) / f"{camera}-{of}"


def _compare(context: JobContext, camera: RegisteredCamera, noted: Mapping[str, Any]) -> None:
    """Read what lies on the disk once more. Raises FixityError when it is not what came from the recorder."""
    reports = [each["report"] for each in noted["files"]]
    watch = bytes_done(context, sum(one["size"] for one in reports), camera=camera.name, stage="hashing")
    for each in noted["files"]:
        digest = hash_file(Path(each["folder"]) / each["report"]["file"], watch)
        if digest.removeprefix("sha256:") != str(each["report"]["sha256"]).removeprefix("sha256:"):
            raise FixityError(
                N_("%(path)s changed after it was copied from the recorder."), path=each["report"]["file"]
            )


def _approved_span(context: JobContext, key: str, asked: Span) -> Span:
    """The span that the coverage was found for and that was approved, on true time."""
    found = (context.data.get("coverage") or {}).get("cameras", [])
    offset = next((one.get("clock_offset_seconds") for one in found if one.get("camera") == key), None)
    application = context.data.get("application") or {}
    if application.get("clock_basis") != "recorder" or offset is None:
        return asked
    return Span(asked.start - timedelta(seconds=offset), asked.end - timedelta(seconds=offset))


# ---- publishing -----------------------------------------------------------------------------------------------------


def _publish(context: JobContext, case: Case, camera: str, stem: str, noted: Mapping[str, Any]) -> int:
    """Make the files masters and their native files evidence; answers the first master, which stands for all."""
    first: int | None = None
    for number, each in enumerate(noted["files"], 1):
        report, folder = each["report"], Path(each["folder"])
        name = stem if number == 1 else f"{stem}-{number:03d}"
        facts = {"report": report}
        if first is None and len(noted["files"]) > 1:
            facts["whole"] = noted["report"]
        described = Described("master", f"masters/{name}.mkv", "video/x-matroska", camera, first, facts)
        item = _add(context, case, folder / report["file"], described, "acquired")
        _publish_native(context, case, item, folder, f"masters/{name}.native", report, camera)
        first = first or item
    assert first is not None
    return first


def _publish_native(
    context: JobContext, case: Case, master: int, folder: Path, place: str, report: Mapping[str, Any], camera: str
) -> None:
    """The files that a recorder or a folder handed out, as they came, linked to the master that was joined from them.

    Raises:
        DigestMismatchError: one is not what was copied.
    """
    for each in report["native"]:
        source = folder / each["file"]
        if source.exists() and (found := hash_file(source)) != each["sha256"]:
            raise DigestMismatchError(each["name"], "sha256", each["sha256"], found)
        facts = {key: each[key] for key in ("name", "start", "end")}
        path = f"{place}/{source.name}"
        described = Described("native", path, "application/octet-stream", camera, master, facts)
        _add(context, case, source, described, "acquired")


def _add(context: JobContext, case: Case, source: Path, described: Described, event: str) -> int:
    """As `evidence.add_file`, but the segments stay where they are until the last one is published."""
    if source.is_relative_to(context.scratch):
        return evidence.add_file(context.database, context.settings, case.id, source, described, event=event)
    link = context.scratch / "publishing" / described.path.replace("/", "-")
    make_folder(link.parent)
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        os.link(source, link)
    return evidence.add_file(context.database, context.settings, case.id, link, described, event=event)


def _publish_report(
    context: JobContext, case: Case, master: int, camera: str, stem: str, report: Mapping[str, Any]
) -> None:
    path = context.scratch / f"{stem}.acquisition.json"
    write_file(path, orjson.dumps(report, option=orjson.OPT_INDENT_2))
    described = Described("report", f"reports/{path.name}", "application/json", camera, master)
    evidence.add_file(context.database, context.settings, case.id, path, described, event="reported")


def _brief(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report as the process keeps it: of a very long one without what is listed at length in it."""
    if len(orjson.dumps(report)) <= LARGEST_REPORT:
        return dict(report)
    return {**_without_long_lists(report), "abridged": True}


def _without_long_lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_long_lists(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_long_lists(item) for item in value] if len(value) <= LONGEST_LIST else []
    return value
