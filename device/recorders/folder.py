"""A folder of time-named files: a Frigate or ZoneMinder store, a Dahua disk, or a hand export from any machine.

The folder is only read. Which file was recorded when is told by its path (`filenames`), how long it runs by itself.
An acquisition copies the files that cover the span beside the target, hashes them, and joins them by stream copy; the
clock of the machine that named them cannot be asked, so an offset found by other means may be given with the address:
`file:///srv/export?zone=Asia/Shanghai&offset=37` (seconds, recorder minus true).
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from device import media
from device.limits import bucket
from device.recorders.base import (
    N_,
    WHOLE,
    AcquisitionReport,
    ClockOffset,
    Coverage,
    DeviceError,
    Part,
    Probe,
    ProgressCallback,
    RecorderIdentity,
    RecorderRefusedError,
    RecorderUnreachableError,
    Recording,
    Span,
)
from device.recorders.filenames import SUFFIXES, Named, name_of, printable
from device.recorders.joining import Joining, Piece
from device.recorders.replay import free_space
from device.recorders.stretches import covered, merged
from device.recorders.wall import named_zone

MAX_FILES = 500_000
MAX_DEPTH = 12
LONGEST = timedelta(hours=25)
ROUNDING = timedelta(seconds=1, milliseconds=500)
UNMEASURED = timedelta(minutes=1)


def true_time() -> datetime:
    return datetime.now(UTC)


@dataclass
class File:
    """One file of a camera; times are true times. `seconds` is measured when it is needed; None where unreadable."""

    path: Path
    label: str
    start: datetime
    named_end: datetime | None
    pattern: str
    size: int
    modified: int
    measured: bool = False
    seconds: float | None = None

    @property
    def end(self) -> datetime:
        """The named end, or what was measured; an unreadable file ends where it begins."""
        if self.seconds is not None:
            return self.start + timedelta(seconds=self.seconds)
        return self.named_end or self.start


class FolderRecorder:
    """Footage in a folder. The list of files is read once and kept; `refresh` reads it again.

    Raises:
        DeviceError: the address names no folder, or an unknown zone.
    """

    def __init__(
        self,
        url: str,
        username: str = "",  # noqa: ARG002 - as every driver is called
        password: str = "",  # noqa: ARG002 - as every driver is called
        *,
        zone: str = "",
        offset: float | None = None,
        bandwidth: int = 0,
        keep_partial: bool = True,  # noqa: ARG002 - files are there or not
        timeout: float = 60.0,
        stall: float = 0.0,  # noqa: ARG002 - nothing stalls here
        allow_basic: bool = False,  # noqa: ARG002 - nobody asks for a password here
        free: Callable[[Path], int] = free_space,
        now: Callable[[], datetime] = true_time,
    ) -> None:
        self.root, settings = _address(url)
        self.zone = named_zone(zone or settings.get("zone", "Asia/Shanghai"))
        given = offset if offset is not None else _seconds(settings.get("offset"))
        self._offset = timedelta(seconds=given or 0.0)
        self._given = given is not None
        self._timeout = timeout
        self._bucket = bucket(bandwidth)
        self._free = free
        self._now = now
        self._files: dict[str, list[File]] | None = None
        self.unnamed = 0

    # --- what there is

    def probe(self) -> Probe:
        """The folder is there; its "clock" is the offset that was given, or none.

        Raises:
            RecorderUnreachableError: there is no such folder.
        """
        files = self._all()
        patterns = sorted({file.pattern for each in files.values() for file in each})
        identity = RecorderIdentity("folder", ", ".join(patterns) or "no time-named files", "", "", "folder")
        return Probe(identity, self._clock(), tuple(patterns))

    def _clock(self) -> ClockOffset:
        if self._given:
            return ClockOffset(self._offset, timedelta(seconds=1), "given with the folder's address", self._now())
        return ClockOffset(timedelta(0), UNMEASURED, "not measured: names of files taken as they are", self._now())

    def recordings(self) -> list[Recording]:
        """One recording for each camera that the paths name. Raises RecorderUnreachableError."""
        found = []
        for camera, files in sorted(self._all().items()):
            last = files[-1]
            self._measure(last)
            found.append(Recording(camera, camera, files[0].start, max(last.end, last.start)))
        return found

    def coverage(self, recording: str, span: Span) -> Coverage:
        """What the files hold of the span, from their names and running times.

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        files = self._camera(recording)
        held = merged([(file.start, file.end) for file in self._covering(files, span)], ROUNDING)
        self._measure(files[-1])
        return covered(recording, span, held, files[0].start, max(files[-1].end, files[-1].start))

    def refresh(self) -> None:
        """Forget the list of files."""
        self._files = None

    # --- copying

    def acquire(
        self,
        recording: str,
        span: Span,
        target: Path,
        progress: ProgressCallback | None = None,
        part: Part = WHOLE,  # noqa: ARG002 - the files of the folder are the segments
    ) -> AcquisitionReport:
        """As `Recorder.acquire`, but never less than the span; the native files are kept in `<target>.native/`.

        Raises:
            RecorderUnreachableError: a file vanished or changed while it was copied.
            RecorderRefusedError: no file covers the span, or the files differ in codec or size.
            DiskFullError
        """
        files = self._covering(self._camera(recording), span)
        pieces = [Piece(file.path, file.label, file.start, file.size) for file in files if file.end > file.start]
        if not pieces:
            raise RecorderRefusedError(N_("No file in the folder covers this span."))
        unreadable = [file.label for file in files if file.seconds is None]
        warnings = [f"{label} cannot be read and was left out" for label in unreadable[:20]]
        if not self._given:
            warnings.append("the clock that named the files was not compared with true time")
        probe = self.probe()
        return Joining(
            recording,
            span,
            pieces,
            driver="folder",
            confidence="medium",
            source=f"file://{printable(str(self.root))}",
            clock=probe.clock,
            identity=probe.identity,
            warnings=warnings,
            rounding=ROUNDING,
            free=self._free,
            bucket=self._bucket,
        ).acquire(target, progress)

    # --- files

    def _all(self) -> dict[str, list[File]]:
        if self._files is None:
            found: dict[str, list[File]] = {}
            self.unnamed = 0
            for file in self._scan():
                named = name_of(PurePosixPath(file.relative_to(self.root).as_posix()), self.zone)
                if named is None:
                    self.unnamed += 1
                    continue
                found.setdefault(named.camera, []).append(self._file(file, named))
            for files in found.values():
                files.sort(key=lambda file: (file.start, file.label))
            self._files = found
        return self._files

    def _scan(self) -> Iterator[Path]:
        """Regular files with a footage suffix below the folder; links are not followed."""
        if not self.root.is_dir():
            raise RecorderUnreachableError(
                N_("There is no folder %(root)s: is the disk mounted?"), root=printable(str(self.root))
            )
        seen = 0
        for folder, folders, names in os.walk(self.root, onerror=_unreadable):
            if len(Path(folder).relative_to(self.root).parts) >= MAX_DEPTH:
                folders.clear()
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                seen += 1
                if seen > MAX_FILES:
                    raise RecorderRefusedError(
                        N_("The folder has more than %(limit)s files: name one further down."), limit=MAX_FILES
                    )
                path = Path(folder) / name
                if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not path.is_symlink():
                    yield path

    def _file(self, path: Path, named: Named) -> File:
        facts = path.lstat()
        label = printable(path.relative_to(self.root).as_posix())
        end = named.end - self._offset if named.end is not None else None
        return File(path, label, named.start - self._offset, end, named.pattern, facts.st_size, facts.st_mtime_ns)

    def _camera(self, recording: str) -> list[File]:
        files = self._all().get(recording)
        if not files:
            raise RecorderRefusedError(
                N_("The folder has no camera %(recording)s: look at its list of recordings."), recording=repr(recording)
            )
        return files

    def _covering(self, files: list[File], span: Span) -> list[File]:
        """The files that may hold footage of the span, measured, in order."""
        found = []
        for file in files:
            if file.start >= span.end or file.start < span.start - LONGEST:
                continue
            if file.named_end is not None and file.named_end + ROUNDING < span.start:
                continue
            self._measure(file)
            if file.end > span.start or (file.seconds is None and file.start >= span.start):
                found.append(file)
        return found

    def _measure(self, file: File) -> None:
        """How long a file runs, as its container says; None when ffmpeg cannot open it."""
        if file.measured:
            return
        command = [media.ffmpeg_path(), "-hide_banner", "-nostdin", "-protocol_whitelist", "file,pipe"]
        command += ["-format_whitelist", media.CONTAINERS, "-i", f"file:{file.path.absolute()}"]
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=self._timeout, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise RecorderUnreachableError(N_("%(label)s could not be read in time."), label=file.label) from error
        file.measured = True
        match = re.search(rb"Duration: (\d{2,4}):(\d\d):(\d\d(?:\.\d+)?)", done.stderr)
        if match is not None:
            file.seconds = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
        elif b"Stream #0" in done.stderr:  # a bare stream has no running time in its header: count its packets
            file.seconds = media.probe(file.path).seconds


def _unreadable(error: OSError) -> None:
    raise RecorderUnreachableError(N_("The folder cannot be read: %(reason)s."), reason=error.strerror) from error


def _address(url: str) -> tuple[Path, dict[str, str]]:
    """The folder of a `file:` address or a plain path, and the settings after its `?`."""
    if not url.startswith("file:"):
        path, _, query = url.partition("?")
    else:
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise DeviceError(N_("The address of a folder has no host: mount it, then write file:///path."))
        path, query = unquote(parts.path, errors="surrogateescape"), parts.query
    if not path or "\0" in path:
        raise DeviceError(N_("Name the folder: file:///path, or the path itself."))
    return Path(path).absolute(), {key: values[-1] for key, values in parse_qs(query).items()}


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise DeviceError(N_("%(text)s is no offset in seconds."), text=repr(text[:40])) from error
    if not abs(value) < 366 * 86400:
        raise DeviceError(N_("%(text)s is no believable offset in seconds."), text=repr(text[:40]))
    return value
