"""Recorders: what they hold, and whether they are ready (clauses 2.2, 3.1)."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from device import cases, media, registers, retention
from device.models import Camera
from device.operators.running import (
    RECORDER_REFUSED,
    RECORDER_UNREACHABLE,
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
from device.storage import FolderStore, existing, open_stores
from engine import clock, jobs
from engine.errors import N_, NotFoundError, sentence_of
from engine.operators import JobContext, operator

BYTES_PER_SECOND = 500_000
"""What a camera is assumed to record (4 Mbit/s) when room for the footage is estimated."""

COPIES_ON_STORE = 4
"""Master and viewing copy, first among the copies of the case and then in its bag."""

COPIES_AT_WORK = 2
"""Master and viewing copy; the bag is built from links to them."""


def _site_of_first(session: Session, params: Mapping[str, Any]) -> tuple[str, int, str]:
    """Asking a recorder needs no playback session, but a worker that can reach it."""
    keys = params.get("cameras") or [""]
    camera = session.scalar(select(Camera).where(Camera.key == str(keys[0])))
    return "", 1, camera.recorder.site if camera else "main"


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
        with context.database.transaction() as session:
            case = cases.owned(session, context.instance_id)
            if case is not None:  # a process that only asks has no case to note it in
                case.overwritten_at = datetime.fromisoformat(overwritten_at)
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
            checks.append(_refusal(key, name, error))
            continue
        reached[camera.recorder] = recorder
        held = _held(context, key, asked)
        if held is not None:
            rehearsals.setdefault(camera.recorder, (camera, held))
        checks.append(_clock_check(camera, clock))
    return checks + [_playback_check(context, camera, reached[key], span) for key, (camera, span) in rehearsals.items()]


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


def _playback_check(context: JobContext, camera: RegisteredCamera, recorder: Recorder, span: Span) -> dict[str, Any]:
    """Whether the recorder plays for us: not tried outside its hours, nor when our own jobs use all its playbacks."""
    opens_at = camera.opens_at(clock.now())
    if opens_at is not None:
        told = N_("it gives footage only %(hours)s; the retrieval will wait until then.")
        return _check("", camera.recorder_name, True, told, hours=camera.hours)
    with context.database.reading() as session:
        used = jobs.running(session, registers.playback_key(camera.recorder))
    if used >= camera.sessions:
        told = N_("all its %(count)s playbacks are taken by retrievals that are under way.")
        return _check("", camera.recorder_name, False, told, count=str(camera.sessions))
    if isinstance(recorder, PlayingRecorder):
        try:
            recorder.rehearse(camera.recording, span)
        except DeviceError as error:
            return _refusal("", camera.recorder_name, error)
    return _check("", camera.recorder_name, True, N_("a playback is free."))


def _ffmpeg_check() -> dict[str, Any]:
    try:
        return _check("", "ffmpeg", True, N_("ffmpeg %(version)s is present."), version=media.ffmpeg_version())
    except DeviceError as error:
        return _refusal("", "ffmpeg", error)


def _room(context: JobContext, estimated: int) -> tuple[int, dict[str, Any]]:
    """How much footage fits, with all the copies that will be made of it, on the disk where there is least room.

    The working folder and the stores may share a disk: then it has to hold the copies of all of them.
    """
    copies: dict[int, int] = {}
    free: dict[int, int] = {}
    places = [(context.settings.data, COPIES_AT_WORK)]
    try:
        stores = open_stores(context.settings)
        places += [(store.root, COPIES_ON_STORE) for store in stores if isinstance(store, FolderStore)]
        for place, count in places:
            found = existing(place)
            disk = found.stat().st_dev
            copies[disk] = copies.get(disk, 0) + count
            free[disk] = shutil.disk_usage(found).free
    except DeviceError as error:
        return 0, _refusal("", N_("storage"), error)
    except OSError as error:
        return 0, _check("", N_("storage"), False, "%(reason)s", reason=str(error))
    fits = min(free[disk] // copies[disk] for disk in free)
    template = N_("about %(needed)s MB are needed, %(free)s MB are free.")
    numbers = {"needed": f"{estimated / 1e6:,.0f}", "free": f"{fits / 1e6:,.0f}"}
    return fits, _check("", N_("storage"), fits > estimated, template, **numbers)


def _check(camera: str, name: str, ok: bool, template: str, **params: str) -> dict[str, Any]:
    """`detail` is the English sentence; `template` and `params` let the pages say it in the reader's language."""
    detail = template % params
    return {"camera": camera, "name": name, "ok": ok, "detail": detail, "template": template, "params": params}


def _refusal(camera: str, name: str, error: Exception) -> dict[str, Any]:
    told = sentence_of(error).stored()
    return {"camera": camera, "name": name, "ok": False, "detail": str(error), **told}


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
        raise RecorderUnreachableError(
            N_("%(recorder)s: %(error)s"), recorder=recorder, error=sentence_of(error)
        ) from error
    except RecorderRefusedError as error:
        raise RecorderRefusedError(
            N_("%(recorder)s: %(error)s"), recorder=recorder, error=sentence_of(error)
        ) from error
