"""Is the footage whole and undamaged? (clause 3.2)

The order is that of cost and of certainty: what the recorder's own timeline says is missing, what the packets in the
file show, the digest, a full decode in which every complaint counts, and last a look for black or frozen pictures,
which may be what the camera saw: those only warn. Each finding says when, in seconds from the file's beginning.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import ffmpeg

from device import media
from device.recorders.base import AcquisitionReport, ProgressCallback

MAX_FINDINGS = 200
BLACK_SECONDS = 2.0
FROZEN_SECONDS = 10.0
LEAST_GAP = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing found. `severity`: warning (a person should look) or damaged; `at_seconds` None for the whole file."""

    kind: str
    severity: str
    at_seconds: float | None
    detail: str


@dataclass
class Verdict:
    """`verdict`: sound, warning or damaged, the worst of the findings. `facts` says what was looked at."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        severities = {finding.severity for finding in self.findings}
        return "damaged" if "damaged" in severities else "warning" if severities else "sound"

    def add(self, kind: str, severity: str, at: float | None, detail: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, severity, None if at is None else round(max(0.0, at), 3), detail))

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            "facts": dict(self.facts),
        }


def check(
    path: Path,
    report: AcquisitionReport | Mapping[str, Any] | None = None,
    progress: ProgressCallback | None = None,
) -> Verdict:
    """Judge a file of footage, against the report of its acquisition (the object or its JSON) when there is one.

    Whatever is wrong with the file is a finding. `progress` gets {fraction, stage, …} and may raise to stop.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: there is no ffmpeg.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    media.ffmpeg_path()
    facts = report.to_json() if isinstance(report, AcquisitionReport) else dict(report or {})
    verdict = Verdict(facts={"file": path.name, "size": path.stat().st_size, "ffmpeg": media.ffmpeg_version()})
    stages = _Stages(progress)
    stages.enter("report", 0.0, 0.01)
    _check_report(verdict, facts)
    stages.enter("packets", 0.01, 0.05)
    contents = _check_packets(verdict, path, facts)
    stages.enter("digest", 0.05, 0.1)
    _check_digest(verdict, path, facts, stages)
    if contents is None:
        stages.enter("done", 1.0, 1.0)
        return verdict
    stages.enter("decode", 0.1, 0.9)
    _check_decode(verdict, path, contents, stages)
    if contents.video is not None:
        stages.enter("pictures", 0.9, 1.0)
        _check_pictures(verdict, path, contents, stages)
    stages.enter("done", 1.0, 1.0)
    return verdict


class _Stages:
    """Progress over all stages as one number."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._stage, self._low, self._high = "", 0.0, 0.0

    def enter(self, stage: str, low: float, high: float) -> None:
        self._stage, self._low, self._high = stage, low, high
        self.report({"fraction": 0.0})

    def report(self, facts: Mapping[str, Any]) -> None:
        if self._progress is not None:
            within = self._low + (self._high - self._low) * float(facts.get("fraction") or 0.0)
            self._progress({**facts, "stage": self._stage, "fraction": round(within, 4)})


# --- what the recorder said


def _check_report(verdict: Verdict, facts: Mapping[str, Any]) -> None:
    first = _time(facts.get("first_frame"))
    lost = int(facts.get("packets_lost") or 0)
    located = False
    for gap in facts.get("gaps") or []:
        start, end = _time(gap["start"]), _time(gap["end"])
        seconds = (end - start).total_seconds() if start and end else 0.0
        at = (start - first).total_seconds() if start and first else None
        cause = str(gap.get("cause", "unknown"))
        located = located or cause == "packets_lost"
        if cause == "not_recorded":
            verdict.add("gap", "warning", at, f"{seconds:.1f} s were never recorded")
        elif cause == "unknown":
            verdict.add("gap", "warning", at, f"{seconds:.1f} s are missing, and the recorder does not say why")
        else:
            words = "on the way: packets were lost" if cause == "packets_lost" else "on the way: the connection broke"
            verdict.add(cause, "damaged", at, f"{seconds:.1f} s were damaged or lost {words}")
    if lost and not located:
        verdict.add("packets_lost", "damaged", None, f"{lost} packets were lost on the way")
    if facts.get("confidence") == "low":
        verdict.add("timeline", "warning", None, "the recorder sent no time for its pictures: gaps cannot be seen")


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


# --- what lies in the file


def _check_packets(verdict: Verdict, path: Path, facts: Mapping[str, Any]) -> media.Contents | None:
    try:
        contents = media.probe(path)
    except media.MediaError as error:
        verdict.add("unreadable", "damaged", 0.0, f"the file cannot be opened: {' '.join(error.complaints[-2:])[:300]}")
        return None
    video = contents.video
    main = video or contents.audio
    packets = contents.of(main) if main is not None else []
    begin = min((packet.pts for packet in contents.packets), default=0.0)
    end = max((packet.pts for packet in packets), default=0.0)
    verdict.facts |= {"seconds": round(contents.seconds, 3), "pictures": len(packets) if video is not None else 0}
    for words in contents.complaints[:20]:
        kind = "truncated" if re.search("(?i)premature|truncat|end of file", words) else "container"
        verdict.add(kind, "damaged", end - begin, words)
    if not packets:
        verdict.add("empty", "damaged", 0.0, "there is no picture and no sound in the file")
        return None
    expected = facts.get("frames")
    if isinstance(expected, int) and expected > 0 and len(packets) != expected:
        verdict.add(
            "missing_frames" if len(packets) < expected else "extra_frames",
            "damaged",
            None,
            f"the file holds {len(packets)} pictures, {expected} were acquired",
        )
    known = facts.get("codecs")
    found = [stream.codec for stream in contents.streams]
    if known and list(known) != found:
        verdict.add("codec", "damaged", 0.0, f"the file holds {', '.join(found)}, acquired were {', '.join(known)}")
    _check_order(verdict, contents, begin)
    _check_steps(verdict, packets, begin, facts)
    if video is not None and not packets[0].key:
        verdict.add(
            "no_key_frame", "warning", 0.0, "the first picture is no key frame: the beginning cannot be decoded"
        )
    return contents


def _check_order(verdict: Verdict, contents: media.Contents, begin: float) -> None:
    for stream in contents.streams:
        last: float | None = None
        for packet in contents.of(stream):
            if last is not None and packet.dts < last:
                verdict.add("wrong_order", "damaged", packet.dts - begin, f"{stream.kind} jumps back in time")
                break
            last = packet.dts


def _check_steps(verdict: Verdict, packets: list[media.Packet], begin: float, facts: Mapping[str, Any]) -> None:
    """Steps in time that are longer than the usual one: gaps that the report does not explain."""
    times = sorted(packet.pts for packet in packets)
    steps = [b - a for a, b in pairwise(times)]
    if len(steps) < 3:
        return
    usual = sorted(steps)[len(steps) // 2]
    steady = sum(1 for step in steps if abs(step - usual) <= 0.2 * usual + 0.002) >= 0.98 * len(steps)
    explained = _explained(facts)
    for index, step in enumerate(steps):
        at = times[index] - begin
        if step > max(LEAST_GAP, 4 * usual):
            if not any(low - 2 * usual - 0.5 <= at and at + step <= high + 2 * usual + 0.5 for low, high in explained):
                severity = "damaged" if facts else "warning"
                verdict.add("missing_frames", severity, at, f"no picture for {step:.2f} s")
        elif steady and step > 1.6 * usual and not any(low - 1 <= at <= high + 1 for low, high in explained):
            missing = max(1, round(step / usual) - 1)
            verdict.add("missing_frames", "warning", at, f"{missing} picture(s) seem to be missing")


def _explained(facts: Mapping[str, Any]) -> list[tuple[float, float]]:
    first = _time(facts.get("first_frame"))
    spans = []
    for gap in facts.get("gaps") or []:
        start, end = _time(gap["start"]), _time(gap["end"])
        if first and start and end:
            spans.append(((start - first).total_seconds(), (end - first).total_seconds()))
    return spans


def _check_digest(verdict: Verdict, path: Path, facts: Mapping[str, Any], stages: _Stages) -> None:
    size = max(1, path.stat().st_size)
    done = 0

    def count(read: int) -> None:
        nonlocal done
        if done // (64 << 20) != (done + read) // (64 << 20):
            stages.report({"fraction": done / size})
        done += read

    digest = media.sha256(path, count)
    verdict.facts["sha256"] = digest
    expected = facts.get("sha256")
    if expected and expected != digest:
        verdict.add("digest", "damaged", None, "the file is not the one that was acquired: its SHA-256 differs")


# --- what decoding shows


def _check_decode(verdict: Verdict, path: Path, contents: media.Contents, stages: _Stages) -> None:
    """Decode everything; with -xerror the first complaint stops it, so where it stopped is where the damage is.

    Each decoded picture is shrunk to a line of its time, which tells the place to the picture.
    """
    streams: dict[int, media.Stream] = {}
    reached = begin = min((packet.pts for packet in contents.packets), default=0.0)
    reported = time.monotonic()

    def watch(line: str) -> None:
        nonlocal reached, reported
        if line.startswith("#"):
            media.read_header(line, streams)
            return
        packet = media.read_packet(line, streams)
        if packet is not None:
            reached = max(reached, packet.pts)
        if time.monotonic() - reported > 0.2:
            reported = time.monotonic()
            stages.report({"fraction": (reached - begin) / max(0.001, contents.seconds), "media_seconds": reached})

    taken = media.source(path, xerror=None)
    outputs = [
        taken[str(stream.index)].filter("scale", 16, 16, flags="neighbor")
        if stream.kind == "video"
        else taken[str(stream.index)]
        for stream in contents.streams
    ]
    graph = ffmpeg.output(*outputs, "pipe:1", format="framecrc", flush_packets=1, copyts=None)
    try:
        complaints = media.run(graph, on_line=watch)
    except media.MediaError as error:
        complaints = error.complaints or [str(error)]
        verdict.add("decode", "damaged", reached - begin, " ".join(complaints[:3])[:500])
        return
    known = {finding.detail for finding in verdict.findings}
    for words in [words for words in complaints if words not in known][:10]:
        truncated = re.search("(?i)premature|truncat", words)
        verdict.add("truncated" if truncated else "decode", "damaged", reached - begin, words)


def _check_pictures(verdict: Verdict, path: Path, contents: media.Contents, stages: _Stages) -> None:
    """Black and frozen stretches on the key frames alone: cheap, and such stretches last."""
    taken = media.source(path, skip_frame="nokey")
    looked = taken.video.filter("blackdetect", d=BLACK_SECONDS, pic_th=0.98, pix_th=0.1).filter(
        "freezedetect", n=0.0005, d=FROZEN_SECONDS
    )
    graph = ffmpeg.output(looked, "-", format="null")
    try:
        lines = media.run(graph, level="info", seconds=contents.seconds, progress=stages.report)
    except media.MediaError as error:
        verdict.facts["pictures_not_looked_at"] = str(error)[:200]
        return
    for pattern, kind, words in (
        (r"black_start:([\d.]+).*black_duration:([\d.]+)", "black", "the picture is black"),
        (r"freeze_start: ([\d.]+)()", "frozen", "the picture stands still"),
    ):
        for line in lines:
            match = re.search(pattern, line)
            if match is not None:
                lasting = f" for {float(match[2]):.1f} s" if match[2] else ""
                verdict.add(kind, "warning", float(match[1]), words + lasting)
