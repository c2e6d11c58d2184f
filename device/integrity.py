"""Is the footage whole and undamaged? (clause 3.2)

The order is that of cost and of certainty: what the recorder's own timeline says is missing, what the packets in the
file show, the digest, a full decode in which every complaint counts, and last a look for black or frozen pictures,
which may be what the camera saw: those only warn. Each finding says when, in seconds from the file's beginning.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import ffmpeg

from device import decoding, media, nal_units
from device.recorders.base import AcquisitionReport, ProgressCallback

MAX_FINDINGS = 200
BLACK_SECONDS = 2.0
FROZEN_SECONDS = 10.0
LEAST_GAP = 1.0
_ZEROS = bytes(1024)


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
    holes = _check_digest(verdict, path, facts, stages)
    if contents is None:
        stages.enter("done", 1.0, 1.0)
        return verdict
    stages.enter("decode", 0.1, 0.9)
    _name_damage(verdict, contents, holes, _check_decode(verdict, contents, stages))
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
    if path.suffix in (".mkv", ".mp4") and contents.promised - contents.seconds > max(
        LEAST_GAP, 0.02 * contents.seconds
    ):
        missing = contents.promised - contents.seconds
        verdict.add("truncated", "damaged", end - begin, f"the file ends {missing:.1f} s before it says it does")
    if not packets:
        verdict.add(
            "empty",
            "damaged",
            0.0,
            " ".join(["there is no picture and no sound in the file", *contents.complaints[:1]]),
        )
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
    lost = isinstance(expected, int) and len(packets) < expected
    _check_steps(verdict, packets, begin, facts, certain=lost)
    odd = [each.at_seconds for each in verdict.findings if each.kind in ("missing_frames", "wrong_order")]
    place = min((at for at in odd if at is not None), default=end - begin)
    for words in contents.complaints[:20]:
        cut = re.search("(?i)premature|truncat|end of file", words) is not None
        verdict.add("truncated" if cut else "container", "damaged", end - begin if cut else place, words)
    if video is not None and not packets[0].key:
        verdict.add(
            "no_key_frame", "warning", 0.0, "the first picture is no key frame: the beginning cannot be decoded"
        )
    return contents


def _check_order(verdict: Verdict, contents: media.Contents, begin: float) -> None:
    for stream in contents.streams:
        last: float | None = None
        same = 0
        for packet in contents.of(stream):
            same = same + 1 if packet.dts == last else 0  # ffmpeg moves what lies too early to the last time
            if last is not None and (packet.dts < last or same > 2):
                verdict.add("wrong_order", "damaged", packet.dts - begin, f"{stream.kind} jumps back in time")
                break
            last = packet.dts


def _check_steps(
    verdict: Verdict, packets: list[media.Packet], begin: float, facts: Mapping[str, Any], *, certain: bool
) -> None:
    """Steps in time that are longer than the usual one: gaps that the report does not explain. `certain`: pictures are
    missing by their number.
    """
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
            severity = "damaged" if certain else "warning"
            verdict.add("missing_frames", severity, at, f"{missing} picture(s) seem to be missing")


def _explained(facts: Mapping[str, Any]) -> list[tuple[float, float]]:
    first = _time(facts.get("first_frame"))
    spans = []
    for gap in facts.get("gaps") or []:
        start, end = _time(gap["start"]), _time(gap["end"])
        if first and start and end:
            spans.append(((start - first).total_seconds(), (end - first).total_seconds()))
    return spans


def _check_digest(verdict: Verdict, path: Path, facts: Mapping[str, Any], stages: _Stages) -> list[int]:
    """Compare the digest, and note where the file holds nothing but zeros: no coded picture does."""
    size = max(1, path.stat().st_size)
    done = 0
    holes: list[int] = []

    def look(block: memoryview) -> None:
        nonlocal done
        if done // (64 << 20) != (done + len(block)) // (64 << 20):
            stages.report({"fraction": done / size})
        at = bytes(block).find(_ZEROS)
        if at >= 0 and len(holes) < 20:
            holes.append(done + at)
        done += len(block)

    digest = media.sha256(path, look)
    verdict.facts["sha256"] = digest
    expected = facts.get("sha256")
    if expected and expected != digest:
        verdict.add("digest", "damaged", None, "the file is not the one that was acquired: its SHA-256 differs")
    return holes


# --- what decoding shows


def _check_decode(verdict: Verdict, contents: media.Contents, stages: _Stages) -> list[float]:
    """Decode everything; the places where it stopped, in seconds."""
    known = {finding.detail for finding in verdict.findings}
    places = []
    parts = decoding.decode(contents, stages.report)
    verdict.facts["decoded_parts"] = len(parts)
    for part in parts:
        words = [each for each in part.complaints if each not in known]
        if not words:
            continue
        at = part.reached - contents.begin
        places.append(at)
        truncated = any(re.search("(?i)premature|truncat", each) for each in words)
        verdict.add("truncated" if truncated else "decode", "damaged", at, " ".join(words[:3])[:500])
    for start, _, count in decoding.undecoded(contents, parts):
        places.append(start - contents.begin)
        verdict.add("decode", "damaged", places[-1], f"{count} packets in a row are no pictures")
    return places


def _name_damage(verdict: Verdict, contents: media.Contents, holes: list[int], places: list[float]) -> None:
    """Say what kind of damage it is that the decoder or the container complained of."""
    if not places and not contents.complaints:
        return
    for offset in holes:
        at = _time_of(contents, offset, int(verdict.facts["size"]))
        verdict.add("hole", "damaged", at, f"from byte {offset} on there are only zeros in the file")
    for at in places:
        foreign = nal_units.foreign_codec(contents, at) if contents.video is not None else ""
        if foreign:
            codec = contents.video.codec if contents.video is not None else ""
            verdict.add("codec", "damaged", at, f"the pictures are {foreign} here, and {codec} elsewhere")


def _time_of(contents: media.Contents, offset: int, size: int) -> float:
    """When the packet at this place of the file was taken; packets lie in the file one after the other."""
    total = sum(packet.size for packet in contents.packets)
    position = offset - max(0, size - total) * offset / max(1, size)
    passed = 0
    for packet in contents.packets:
        passed += packet.size
        if passed > position:
            return packet.pts - contents.begin
    return contents.seconds


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
    _take_black(verdict, lines)
    _take_frozen(verdict, lines, contents)


def _take_black(verdict: Verdict, lines: list[str]) -> None:
    for line in lines:
        match = re.search(r"black_start:([\d.]+).*black_duration:([\d.]+)", line)
        if match is not None:
            verdict.add("black", "warning", float(match[1]), f"the picture is black for {float(match[2]):.1f} s")


def _take_frozen(verdict: Verdict, lines: list[str], contents: media.Contents) -> None:
    """A picture stands still when it is there again and again, not when there is none (a gap)."""
    video = contents.video
    keys = [packet.pts - contents.begin for packet in contents.of(video) if packet.key] if video is not None else []
    told = re.findall(r"freeze_(start|end): ([\d.]+)", "\n".join(lines))
    for number, (what, at) in enumerate(told):
        if what != "start":
            continue
        ended = number + 1 < len(told)
        end = float(told[number + 1][1]) if ended else contents.seconds
        if any(float(at) + 0.01 < key < end - 0.01 for key in keys):
            lasting = f"for {end - float(at):.1f} s" if ended else "to the end"
            verdict.add("frozen", "warning", float(at), f"the picture stands still {lasting}")
