"""Recorders: what they hold, whether they are ready, and copying footage from them (clauses 2.2, 3.1, 3.2)."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from device import evidence, media, registers, retention
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
    ClockOffset,
    Coverage,
    DeviceError,
    PlayingRecorder,
    Probe,
    Recorder,
    RecorderRefusedError,
    RecorderUnreachableError,
    Span,
)
from device.registers import RegisteredCamera
from device.storage import FixityError, hash_file, open_stores, write_file
from engine.errors import N_, NotFoundError
from engine.operators import JobContext, operator

BYTES_PER_SECOND = 500_000
"""What a camera is assumed to record (4 Mbit/s) when room for the footage is estimated."""

FINISHED = "finished.json"


def _site_of_first(session: Session, params: Mapping[str, Any]) -> tuple[str, int, str]:
    """Asking a recorder needs no playback session, but a worker that can reach it."""
    keys = params.get("cameras") or [""]
    camera = session.scalar(select(Camera).where(Camera.key == str(keys[0])))
    return "", 1, camera.recorder.site if camera else "main"


def _playback_of_recorder(session: Session, params: Mapping[str, Any]) -> tuple[str, int, str]:
    """A recorder allows a limited number of playbacks at once, usually one (FINDINGS)."""
    camera = session.scalar(select(Camera).where(Camera.key == str(params.get("camera", ""))))
    if camera is None:
        return "", 1, "main"
    return f"recorder:{camera.recorder.key}", camera.recorder.sessions, camera.recorder.site


# ---- 2.2 ------------------------------------------------------------------------------------------------------------


@operator(
    "recorder/coverage",
    zh="核实录像",
    en="Check what is recorded",
    errors=(RECORDER_UNREACHABLE, RECORDER_REFUSED),
    exclusive=_site_of_first,
)
def coverage(context: JobContext, *, cameras: list[str], start_at: str, end_at: str) -> dict[str, Any]:
    """Ask the recorders what they hold of the span; the answer has the gaps, the clock offset and the overwrite date.

    When the applicant read the times from the recorder's picture (clause P2), the span is first corrected by the
    offset of that recorder's clock.
    """
    asked = span_of(start_at, end_at)
    found = []
    with modelled(context):
        for camera, recorder, probe in _each(context, cameras):
            span = true_span(context, asked, probe.clock)
            held = recorder.coverage(camera.recording, span)
            found.append(_covered(camera, held, probe.clock, span))
    statuses = {one["status"] for one in found}
    overall = statuses.pop() if len(statuses) == 1 else "partial"
    dates = [one["overwritten_at"] for one in found if one["overwritten_at"]]
    overwritten_at = min(dates, default=None)
    if overwritten_at:
        noted = update(Case).where(Case.instance_id == context.instance_id)
        with context.database.transaction() as session:  # a process that only asks has no case to note it in
            session.execute(noted.values(overwritten_at=datetime.fromisoformat(overwritten_at)))
    return {"status": overall, "overwritten_at": overwritten_at, "cameras": found}


def true_span(context: JobContext, asked: Span, clock: ClockOffset | None) -> Span:
    """The span on true time; as asked unless it was read from the recorder's own clock."""
    application = context.data.get("application") or {}
    if application.get("clock_basis") != "recorder" or clock is None:
        return asked
    return Span(asked.start - clock.offset, asked.end - clock.offset)


def _covered(camera: RegisteredCamera, held: Coverage, clock: ClockOffset, span: Span) -> dict[str, Any]:
    kept = held.status != "none"
    overwritten = retention.overwritten_at(span.start, [camera.retention_days]) if kept else None
    return {
        "camera": camera.key,
        "name": camera.name,
        "recorder": camera.recorder_name,
        "status": held.status,
        "requested": [span.start.isoformat(), span.end.isoformat()],
        "recorded": [[one.start.isoformat(), one.end.isoformat()] for one in held.recorded],
        "gaps": [[gap.start.isoformat(), gap.end.isoformat(), gap.cause] for gap in held.gaps],
        "overwritten_at": overwritten.isoformat() if overwritten else None,
        "clock_offset_seconds": clock.offset.total_seconds(),
        "clock_uncertainty_seconds": clock.uncertainty.total_seconds(),
    }


# ---- 3.1 ------------------------------------------------------------------------------------------------------------


@operator("recorder/preflight", zh="调取前自检", en="Check that everything is ready", exclusive=_site_of_first)
def preflight(context: JobContext, *, cameras: list[str], start_at: str, end_at: str) -> dict[str, Any]:
    """Is every recorder reachable, its clock measured, a playback free, is there room, is ffmpeg there?

    Never fails: it reports.
    """
    asked = span_of(start_at, end_at)
    checks = [*_recorder_checks(context, cameras, asked), _ffmpeg_check()]
    estimated = int(len(cameras) * asked.duration.total_seconds() * BYTES_PER_SECOND)
    free, room = _room(context, estimated)
    checks.append(room)
    return {
        "ready": all(check["ok"] for check in checks),
        "checks": checks,
        "estimated_bytes": estimated,
        "free_bytes": free,
    }


def _recorder_checks(context: JobContext, keys: list[str], asked: Span) -> list[dict[str, Any]]:
    """One check for each camera, then one for each recorder that answers: whether it plays for us now."""
    reached: dict[str, Recorder] = {}
    rehearsals: dict[str, tuple[RegisteredCamera, Span]] = {}
    checks = []
    for key in keys:
        name = key
        try:
            with context.database.reading() as session:
                camera = registers.registered(session, context.settings, key)
            name = camera.name
            recorder = reached.get(camera.recorder) or camera.connect()
            clock = recorder.probe().clock
        except (DeviceError, NotFoundError, registers.SecretError) as error:
            checks.append(_check(key, name, False, "%(reason)s", reason=str(error)))
            continue
        reached[camera.recorder] = recorder
        held = _held(context, key, asked)
        if held is not None:
            rehearsals.setdefault(camera.recorder, (camera, held))
        checks.append(_clock_check(camera, clock))
    return checks + [_playback_check(camera, reached[key], span) for key, (camera, span) in rehearsals.items()]


def _clock_check(camera: RegisteredCamera, clock: ClockOffset) -> dict[str, Any]:
    return _check(
        camera.key,
        camera.name,
        True,
        N_("%(recorder)s answers; its clock is %(offset)s s off (±%(uncertainty)s s)."),
        recorder=camera.recorder_name,
        offset=f"{clock.offset.total_seconds():+.2f}",
        uncertainty=f"{clock.uncertainty.total_seconds():.2f}",
    )


def _held(context: JobContext, key: str, asked: Span) -> Span | None:
    """The first footage of the span that the coverage found for this camera; without a coverage, all of it."""
    found = (context.data.get("coverage") or {}).get("cameras", [])
    recorded = next((one.get("recorded") for one in found if one.get("camera") == key), None)
    if recorded is None:
        return asked
    return span_of(*recorded[0][:2]) if recorded else None


def _playback_check(camera: RegisteredCamera, recorder: Recorder, span: Span) -> dict[str, Any]:
    if isinstance(recorder, PlayingRecorder):
        try:
            recorder.rehearse(camera.recording, span)
        except DeviceError as error:
            return _check("", camera.recorder_name, False, "%(reason)s", reason=str(error))
    return _check("", camera.recorder_name, True, N_("a playback is free."))


def _ffmpeg_check() -> dict[str, Any]:
    try:
        return _check("", "ffmpeg", True, N_("ffmpeg %(version)s is present."), version=media.ffmpeg_version())
    except DeviceError as error:
        return _check("", "ffmpeg", False, "%(reason)s", reason=str(error))


def _room(context: JobContext, estimated: int) -> tuple[int, dict[str, Any]]:
    """The least room of all places that will hold the footage: the working folder (with its copies) and the stores."""
    places = [shutil.disk_usage(context.settings.data).free // 2]
    try:
        places += [free for store in open_stores(context.settings) if (free := store.free()) is not None]
    except DeviceError as error:
        return 0, _check("", N_("storage"), False, "%(reason)s", reason=str(error))
    free = min(places)
    template = N_("about %(needed)s MB are needed, %(free)s MB are free.")
    numbers = {"needed": f"{estimated / 1e6:,.0f}", "free": f"{free / 1e6:,.0f}"}
    return free, _check("", N_("storage"), free > estimated, template, **numbers)


def _check(camera: str, name: str, ok: bool, template: str, **params: str) -> dict[str, Any]:
    """`detail` is the English sentence; `template` and `params` let the pages say it in the reader's language."""
    detail = template % params
    return {"camera": camera, "name": name, "ok": ok, "detail": detail, "template": template, "params": params}


# ---- 3.2 ------------------------------------------------------------------------------------------------------------


@operator(
    "recorder/acquire",
    zh="调取录像",
    en="Copy the footage",
    errors=(RECORDER_UNREACHABLE, RECORDER_REFUSED, DISK_FULL),
    retries=20,
    exclusive=_playback_of_recorder,
)
def acquire(context: JobContext, *, camera: str, start_at: str, end_at: str) -> dict[str, Any]:
    """Copy the span from the recorder untouched, hash it, and make it the read-only master of this camera.

    Killed at any moment and started again, it ends with one master and one report: a finished copy in the scratch
    folder is published, an unfinished one is begun anew, a published one is verified and returned.
    """
    asked = span_of(start_at, end_at)
    case = case_of(context)
    stem = f"{camera}-{context.task_id.hex[:8]}"
    with modelled(context):
        published = _published(context, case, f"masters/{stem}.mkv")
        if published is None:
            report, copied = _copied(context, camera, asked, stem)
            context.progress(fraction=1.0)  # raises when the lease is lost: nothing is published then
            described = Described("master", f"masters/{stem}.mkv", "video/x-matroska", camera, facts={"report": report})
            item = evidence.add_file(context.database, context.settings, case.id, copied, described, event="acquired")
        else:
            item, report = published
        _publish_report(context, case, item, camera, stem, report)
    return {"camera": camera, "item": item, "report": report, "complete": bool(report["complete"])}


def _published(context: JobContext, case: Case, path: str) -> tuple[int, dict[str, Any]] | None:
    """The master that an earlier attempt of this job has published. Raises FixityError when it is damaged."""
    with context.database.reading() as session:
        query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.path == path)
        item = session.scalar(query)
        if item is None:
            return None
        evidence.verify_item(session, context.settings, item)
        return item.id, dict(item.facts["report"])


def _copied(context: JobContext, key: str, asked: Span, stem: str) -> tuple[dict[str, Any], Path]:
    """The footage in the scratch folder with its report: of an earlier attempt when that one finished."""
    finished = context.scratch / FINISHED
    if finished.is_file():
        noted = orjson.loads(finished.read_bytes())
        return noted["report"], context.scratch / noted["file"]
    with context.database.reading() as session:
        camera = registers.registered(session, context.settings, key)
    # Half a recording is better than none, but only when trying again has brought no more.
    recorder = camera.connect(keep_partial=context.attempt >= PATIENCE or context.last_attempt)
    span = _approved_span(context, key, asked)
    # Each attempt writes to its own folder: one that was only paused may wake up and still be writing.
    target = context.scratch / str(context.epoch) / f"{stem}.mkv"
    target.parent.mkdir(parents=True, exist_ok=True)

    def tell(facts: Mapping[str, Any]) -> None:
        context.progress(**{**facts, "camera": camera.name, "recorder": camera.recorder_name})

    report = recorder.acquire(camera.recording, span, target, tell).to_json()
    digest = hash_file(target, bytes_done(context, target.stat().st_size, camera=camera.name, stage="hashing"))
    if digest.removeprefix("sha256:") != str(report["sha256"]).removeprefix("sha256:"):
        raise FixityError(N_("%(path)s changed after it was copied from the recorder."), path=target.name)
    report["file"] = target.name
    noted = {"report": report, "file": str(target.relative_to(context.scratch))}
    write_file(finished, orjson.dumps(noted))
    return report, target


def _approved_span(context: JobContext, key: str, asked: Span) -> Span:
    """The span that the coverage was found for and that was approved, on true time."""
    found = (context.data.get("coverage") or {}).get("cameras", [])
    offset = next((one.get("clock_offset_seconds") for one in found if one.get("camera") == key), None)
    application = context.data.get("application") or {}
    if application.get("clock_basis") != "recorder" or offset is None:
        return asked
    return Span(asked.start - timedelta(seconds=offset), asked.end - timedelta(seconds=offset))


def _publish_report(
    context: JobContext, case: Case, master: int, camera: str, stem: str, report: Mapping[str, Any]
) -> None:
    path = context.scratch / f"{stem}.acquisition.json"
    write_file(path, orjson.dumps(report, option=orjson.OPT_INDENT_2))
    described = Described("report", f"reports/{path.name}", "application/json", camera, master)
    evidence.add_file(context.database, context.settings, case.id, path, described, event="reported")


# ---- reaching recorders ---------------------------------------------------------------------------------------------


def _each(context: JobContext, keys: list[str]) -> Iterator[tuple[RegisteredCamera, Recorder, Probe]]:
    """Every camera with its recorder's driver and probe; each recorder is connected and probed once.

    Raises the device's errors, naming the recorder.
    """
    known: dict[str, tuple[Recorder, Probe]] = {}
    for place, key in enumerate(keys):
        with context.database.reading() as session:
            camera = registers.registered(session, context.settings, key)
        context.progress(fraction=place / len(keys), camera=camera.name, recorder=camera.recorder_name)
        with _named(camera.recorder_name):
            if camera.recorder not in known:
                recorder = camera.connect()
                known[camera.recorder] = recorder, recorder.probe()
            yield camera, *known[camera.recorder]


@contextmanager
def _named(recorder: str) -> Iterator[None]:
    """People know a recorder by its name, not by its address."""
    try:
        yield
    except RecorderUnreachableError as error:
        raise RecorderUnreachableError(f"{recorder}: {error}") from error
    except RecorderRefusedError as error:
        raise RecorderRefusedError(f"{recorder}: {error}") from error
