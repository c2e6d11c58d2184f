"""The recorder commands of `diaoqu`: they need neither the service nor a database.

Exit status 0 done, 1 found a problem (unreachable, refused, an incomplete span), 2 wrong use. With `--json` standard
output is one JSON document; messages for people go to standard error.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from device import discovery_cli
from device.limits import Hours, LimitError
from device.publishing import published
from device.recorders import DRIVERS, open_recorder
from device.recorders.base import N_, DeviceError, PlayingRecorder, ProgressCallback, Recorder, Span
from device.recorders.replay import RtspRecorder
from device.recorders.trust import trusting
from device.segments import MANIFEST, SegmentedAcquisition, is_long, join
from device.simulator.command import simulate_recorder

__all__ = ["recorder", "simulate_recorder"]


class Instant(click.ParamType[datetime]):
    """An ISO 8601 time with its zone: 2026-02-01T10:00:00Z or …+08:00."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time, like 2026-02-01T10:00:00Z", param, ctx)
        if at.tzinfo is None:
            self.fail(f"{value!r} has no time zone: add Z for UTC, or an offset like +08:00", param, ctx)
        return at.astimezone(UTC)


class DailyHours(click.ParamType[Hours]):
    """A daily window, in Shanghai unless a zone follows: 22:00-06:00@Europe/Berlin."""

    name = "hours"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Hours:
        if isinstance(value, Hours):
            return value
        times, _, zone = value.partition("@")
        try:
            found = Hours.parse(times, zone or "Asia/Shanghai")
            if found is None:
                raise LimitError(N_("Name the hours, like 22:00-06:00."))
            return found
        except LimitError as error:
            self.fail(str(error), param, ctx)


@click.group()
def recorder() -> None:
    """Talk to a video recorder: who it is, what it holds, and copies of footage."""


recorder.add_command(discovery_cli.command)


def _connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which recorder, and errors as one line with status 1."""

    @click.option(
        "--driver", type=click.Choice(DRIVERS), default="onvif", show_default=True, help="What the recorder speaks."
    )
    @click.option(
        "--url", help="Its address: http://192.0.2.7/onvif/device_service, or file:///folder for --driver folder."
    )
    @click.option("--user", default="", help="User name on the recorder.")
    @click.option(
        "--password-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File whose first line is the password.",
    )
    @click.option("--rtsp", help="Replay address instead of the one the recorder names (or its host and port only).")
    @click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The recorder's certificate, or that of its authority (PEM): nothing else is trusted then.",
    )
    @click.option("--allow-basic", is_flag=True, help="Send the password in clear if the recorder wants that (RTSP).")
    @click.option("--bandwidth", default=0, show_default=True, help="At most so many kB a second; 0: no cap.")
    @click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for each answer.")
    @wraps(command)
    def wrapped(
        *args: Any,
        driver: str,
        url: str | None,
        user: str,
        password_file: Path | None,
        rtsp: str | None,
        ca_file: Path | None,
        allow_basic: bool,
        timeout: float,
        bandwidth: int,
        **kw: Any,
    ) -> Any:
        password = ""
        if password_file is not None:
            password = (password_file.read_text(encoding="utf-8").splitlines() or [""])[0]
        if not url and not rtsp:
            raise click.UsageError("Name the recorder with --url, or a replay address with --rtsp.")
        try:
            options: dict[str, Any] = {"timeout": timeout, "stall": timeout, "allow_basic": allow_basic}
            options["bandwidth"] = 1000 * bandwidth
            if ca_file is not None:
                options["tls"] = trusting(ca_file.read_text(encoding="utf-8", errors="replace"))
            if url is None or driver == "rtsp":
                driver, url = "rtsp", rtsp or url
            elif rtsp and driver == "folder":
                raise click.UsageError("A folder has no replay address: leave --rtsp out.")
            elif rtsp:
                options["rtsp_override"] = rtsp
            found: Recorder = open_recorder(driver, str(url), user, password, **options)
            return command(*args, recorder=found, **kw)
        except (DeviceError, OSError) as error:
            click.echo(f"diaoqu: {error}", err=True)
            sys.exit(1)

    return wrapped


def _span(command: Callable[..., Any]) -> Callable[..., Any]:
    @click.option("--recording", default="", help="Token of the recording (see `recorder recordings`).")
    @click.option("--from", "start", type=Instant(), required=True, help="Beginning of the span, true time.")
    @click.option("--to", "end", type=Instant(), required=True, help="End of the span, true time.")
    @wraps(command)
    def wrapped(*args: Any, start: datetime, end: datetime, **kw: Any) -> Any:
        if start >= end:
            raise click.BadParameter("the span must end after it begins", param_hint="--to")
        if not kw["recording"] and not isinstance(kw["recorder"], RtspRecorder):
            raise click.UsageError("Name the recording with --recording.")
        return command(*args, span=Span(start, end), **kw)

    return wrapped


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


@recorder.command()
@_connection
@_as_json
def probe(recorder: Recorder, as_json: bool) -> None:
    """Say who the recorder is and how far its clock is off."""
    found = recorder.probe()
    offset, uncertainty = found.clock.offset.total_seconds(), found.clock.uncertainty.total_seconds()
    if as_json:
        _print_json(
            {
                "manufacturer": found.identity.manufacturer,
                "model": found.identity.model,
                "firmware": found.identity.firmware,
                "serial": found.identity.serial,
                "driver": found.identity.driver,
                "clock": {
                    "offset_seconds": offset,
                    "uncertainty_seconds": uncertainty,
                    "method": found.clock.method,
                    "measured_at": _iso(found.clock.measured_at),
                },
                "services": list(found.services),
            }
        )
        return
    identity = found.identity
    click.echo(f"{identity.manufacturer} {identity.model}, firmware {identity.firmware}, serial {identity.serial}")
    sense = "ahead of" if offset >= 0 else "behind"
    click.echo(f"clock {abs(offset):.3f} s {sense} true time (±{uncertainty:.3f} s)")


@recorder.command()
@_connection
@_as_json
def recordings(recorder: Recorder, as_json: bool) -> None:
    """List what the recorder holds."""
    found = recorder.recordings()
    if as_json:
        _print_json(
            [
                {
                    "token": each.token,
                    "camera": each.camera,
                    "from": _iso(each.start),
                    "until": _iso(each.end),
                    "tracks": list(each.tracks),
                }
                for each in found
            ]
        )
        return
    for each in found:
        click.echo(f"{each.token}\t{each.camera}\t{_iso(each.start)}\t{_iso(each.end)}\t{', '.join(each.tracks)}")


@recorder.command()
@_connection
@_span
@_as_json
def coverage(recorder: Recorder, recording: str, span: Span, as_json: bool) -> None:
    """Say what the recorder holds of a span; status 1 unless all of it."""
    found = recorder.coverage(recording, span)
    if as_json:
        _print_json(
            {
                "recording": found.recording,
                "from": _iso(span.start),
                "to": _iso(span.end),
                "status": found.status,
                "recorded": [[_iso(part.start), _iso(part.end)] for part in found.recorded],
                "gaps": [[_iso(gap.start), _iso(gap.end), gap.cause] for gap in found.gaps],
                "earliest": _iso(found.earliest),
                "latest": _iso(found.latest),
            }
        )
    else:
        click.echo(found.status)
        for part in found.recorded:
            click.echo(f"recorded\t{_iso(part.start)}\t{_iso(part.end)}")
        for gap in found.gaps:
            click.echo(f"missing\t{_iso(gap.start)}\t{_iso(gap.end)}\t{gap.cause}")
    sys.exit(0 if found.status == "complete" else 1)


@recorder.command()
@_connection
@_span
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write (.mkv), or see --segments.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="File for the report (JSON).")
@click.option("--segments", is_flag=True, help="Make --out a folder of segments instead of one file.")
@click.option(
    "--segment-minutes",
    default=60.0,
    show_default=True,
    help="Length of a segment; a killed export goes on at the last.",
)
@click.option("--hours", type=DailyHours(), help="Fetch footage only then: 22:00-06:00, or 22:00-06:00@Europe/Berlin.")
@click.option("--force", is_flag=True, help="Replace the files if they exist, and begin anew.")
@_as_json
def export(
    recorder: Recorder,
    recording: str,
    span: Span,
    out: Path,
    report: Path | None,
    segments: bool,
    segment_minutes: float,
    hours: Hours | None,
    force: bool,
    as_json: bool,
) -> None:
    """Copy a span of footage, untouched; status 1 when it is not complete.

    A span of more than an hour is retrieved in segments, which lie in OUT.segments/ until they are joined into one
    file. The same command once more goes on after the last finished segment, whatever ended the one before.
    """
    if not segment_minutes > 0:
        raise click.BadParameter("a segment has a length", param_hint="--segment-minutes")
    length = timedelta(minutes=segment_minutes)
    folder = out if segments else out.with_name(f"{out.name}.segments")
    if force and (folder / MANIFEST).is_file():
        shutil.rmtree(folder)
    unfinished = (folder / MANIFEST).is_file()
    for path in (report,) if segments else (out, report):
        if path is not None and path.exists() and not (force or unfinished):
            raise click.UsageError(f"{path} exists: choose another name, or --force to replace it.")
    pause = partial(_wait_for, hours)
    with _progress() as progress:
        if segments or (isinstance(recorder, PlayingRecorder) and (hours is not None or is_long(span, length))):
            copies = 1 if segments else 2
            over = partial(_is_over, hours)
            pulled = SegmentedAcquisition(recorder, recording, span, folder, length, copies, pause, over)
            done = pulled.acquire(progress)
            if not segments:
                done = join(done, folder, out, progress)
        else:
            pause()
            done = recorder.acquire(recording, span, out, progress).to_json()
    text = json.dumps(done, ensure_ascii=False, indent=2)
    if report is not None:
        with published(report) as draft:
            draft.write_text(text + "\n", encoding="utf-8")
    if done["segments"] and not segments and not done["native"]:
        shutil.rmtree(folder)
    if as_json:
        click.echo(text)
    else:
        _summarise(done)
    sys.exit(0 if done["complete"] else 1)


def _wait_for(hours: Hours | None) -> None:
    """Wait until footage may be fetched, and say until when."""
    at = hours.opens_at(datetime.now(UTC)) if hours is not None else None
    if hours is None or at is None:
        return
    click.echo(f"Waiting until {at.astimezone(hours.zone):%Y-%m-%d %H:%M %Z}: footage only {hours}.", err=True)
    while hours.opens_at(now := datetime.now(UTC)) is not None:
        time.sleep(min(60.0, max(0.1, (at - now).total_seconds())))  # the clock may be set meanwhile


def _is_over(hours: Hours | None) -> bool:
    """Whether the hours in which footage may be fetched have ended; the segment under way ends then, too."""
    return hours is not None and hours.opens_at(datetime.now(UTC)) is not None


def _summarise(done: dict[str, Any]) -> None:
    click.echo(
        f"{done['file']}: {done['frames']} pictures from {done['first_frame']} to {done['last_frame']}, "
        f"{done['size'] / 1e6:.1f} MB, {done['sha256']}"
    )
    for segment in done["segments"]:
        click.echo(f"segment {segment['file']}: {segment['frames']} pictures, {segment['sha256']}")
    for gap in done["gaps"]:
        click.echo(f"missing {gap['start']} to {gap['end']}: {gap['cause']}")
    for warning in done["warnings"]:
        click.echo(f"note: {warning}", err=True)
    if not done["complete"]:
        click.echo("The span is not complete.", err=True)


@contextmanager
def _progress() -> Iterator[ProgressCallback | None]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("[progress.percentage]{task.percentage:>3.0f} %"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, speed="")

        def show(facts: dict[str, Any]) -> None:
            size = int(facts.get("bytes") or 0)
            fraction = float(facts.get("fraction") or 0.0)
            total = int(size / fraction) if fraction > 0 else None
            bar.update(task, completed=size, total=total, speed=f"{facts.get('speed') or 0:.0f}×")

        yield show
