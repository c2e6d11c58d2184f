"""Everything that ffmpeg does here: finding it, command lines (by ffmpeg-python), the packet probe.

No ffprobe: `ffmpeg -c copy -f framecrc` lists every packet with its time, size and checksum, and the streams besides.
File names reach ffmpeg as `file:` addresses and input protocols are limited, so that no name and no hostile file can
make it open anything else.
"""

import hashlib
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import ffmpeg

from device.recorders.base import N_, DeviceError, DiskFullError, ProgressCallback

MAX_COMPLAINTS = 200
CONTAINERS = "matroska,webm,mov,mp4,avi,mpegts,mpeg,h264,hevc,wav,dhav"


class MediaError(DeviceError):
    """ffmpeg could not read or write a file; the message has its words, `complaints` all of them."""

    def __init__(self, template: str, complaints: Sequence[str] = (), **params: object) -> None:
        super().__init__(template, **params)
        self.complaints = list(complaints)


@lru_cache
def ffmpeg_path() -> str:
    """The system's ffmpeg when present, else the one that the package imageio-ffmpeg brings.

    Raises:
        MediaError: there is none.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MediaError(N_("There is no ffmpeg: install it, or install the package imageio-ffmpeg.")) from error


@lru_cache
def ffmpeg_version() -> str:
    """As it calls itself, like `5.1.9-0+deb12u1`."""
    words = _output([ffmpeg_path(), "-hide_banner", "-version"]).split()
    return words[2] if len(words) > 2 else "unknown"


@lru_cache
def variable_rate() -> dict[str, str]:
    """The option by which re-encoded pictures keep their times: without it ffmpeg fills gaps with repeated ones."""
    found = re.match(r"n?(\d+)\.(\d+)", ffmpeg_version())
    old = found is not None and (int(found[1]), int(found[2])) < (5, 1)
    return {"vsync" if old else "fps_mode": "vfr"}


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


# --- command lines


def source(path: Path, **options: Any) -> Any:
    """A file as an input of ffmpeg-python; it may open nothing but itself (no playlists)."""
    return ffmpeg.input(
        f"file:{path.absolute()}", protocol_whitelist="file,pipe", format_whitelist=CONTAINERS, **options
    )


def command(stream: Any, level: str = "error") -> list[str]:
    """The command line of an ffmpeg-python graph."""
    return cast(list[str], ffmpeg.compile(stream, cmd=_base(level)))


def _base(level: str = "error") -> list[str]:
    return [ffmpeg_path(), "-hide_banner", "-nostdin", "-v", level]


def relay_command(address: str, target: Path) -> list[str]:
    """Copy what the loopback relay plays into Matroska, every stream, nothing re-encoded.

    `bitexact` leaves out random ids and the date: the same packets give the same file, also after a crash.
    """
    played = ffmpeg.input(
        address,
        copyts=None,
        rtsp_transport="tcp",
        protocol_whitelist="rtp,tcp,rtsp",
        analyzeduration="2M",
        probesize="5M",
    )
    written = ffmpeg.output(
        played, f"file:{target.absolute()}", format="matroska", map=0, c="copy", flush_packets=0, fflags="+bitexact"
    ).global_args("-y")
    return command(written)


def run(
    stream: Any,
    *,
    level: str = "error",
    seconds: float = 0.0,
    progress: ProgressCallback | None = None,
    on_line: Callable[[str], None] | None = None,
) -> list[str]:
    """Run an ffmpeg-python graph to its end and give back the lines it complained with.

    `progress` gets {fraction, media_seconds, speed} out of `seconds`, and may raise to stop: ffmpeg is then killed.
    `on_line` gets standard output line by line instead.

    Raises:
        MediaError: the exit status is not zero; `complaints` of the error has the lines.
        DiskFullError: the disk is full.
    """
    if on_line is None:
        stream = stream.global_args("-progress", "pipe:1", "-stats_period", "0.2", "-nostats")
    process = ffmpeg.run_async(stream, cmd=_base(level), pipe_stdout=True, pipe_stderr=True)
    complaints: list[str] = []
    reader = threading.Thread(target=collect, args=(process.stderr, complaints), daemon=True)
    reader.start()
    try:
        take = on_line or _progress_reader(seconds, progress)
        for line in process.stdout:
            take(line.decode("utf-8", "replace").rstrip("\n"))
        status = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        reader.join()
        process.stdout.close()
        process.stderr.close()
    judge(status, complaints)
    return complaints


def judge(status: int, complaints: Sequence[str]) -> None:
    """Raises DiskFullError or MediaError unless ffmpeg ended well."""
    if status == -signal.SIGXFSZ or any("No space left on device" in x or "File too large" in x for x in complaints):
        raise DiskFullError(N_("There is no room left on the disk."))
    if status != 0:
        raise MediaError(
            N_("ffmpeg failed: %(reason)s"), complaints, reason=" ".join(complaints[-3:])[:500] or f"status {status}"
        )


def collect(pipe: IO[bytes], complaints: list[str]) -> None:
    """Read the lines that ffmpeg complains with, without addresses of its memory."""
    for line in pipe:
        if len(complaints) < MAX_COMPLAINTS:
            words = line.decode("utf-8", "replace").strip()[:500]
            complaints.append(re.sub(r" @ 0x[0-9a-f]+", "", words))


def _progress_reader(seconds: float, progress: ProgressCallback | None) -> Callable[[str], None]:
    """Reads `-progress` output (key=value lines) and reports at the end of each block."""
    facts: dict[str, str] = {}

    def take(line: str) -> None:
        key, _, value = line.partition("=")
        facts[key.strip()] = value.strip()
        if key != "progress" or progress is None:
            return
        done = media_seconds(facts)
        speed = re.match(r"[\d.]+", facts.get("speed", ""))
        progress(
            {
                "fraction": min(1.0, done / seconds) if seconds > 0 else 0.0,
                "media_seconds": done,
                "speed": float(speed[0]) if speed else None,
            }
        )

    return take


def media_seconds(facts: dict[str, str]) -> float:
    """How far ffmpeg is, from a block of its `-progress` output."""
    value = facts.get("out_time_us", "")
    return max(0.0, int(value) / 1e6) if re.fullmatch(r"-?\d{1,18}", value) else 0.0


# --- the packet probe


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it lies in the container; times in seconds, `key` is its key-frame flag."""

    stream: int
    dts: float
    pts: float
    duration: float
    size: int
    digest: str
    key: bool


@dataclass
class Stream:
    """One stream of a file; `pixel_format`, `profile` and `frame_rate` are empty where ffmpeg does not say."""

    index: int
    kind: str
    codec: str
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    profile: str = ""
    pixel_format: str = ""
    time_base: float = 0.001
    packets: int = 0


@dataclass
class Contents:
    """What the packet probe found. `complaints` are ffmpeg's words about the file: a sound file has none.

    `promised`: how long the container says it is, in seconds; 0 where it does not say.
    """

    path: Path = Path()
    promised: float = 0.0
    streams: list[Stream] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def video(self) -> Stream | None:
        return next((stream for stream in self.streams if stream.kind == "video"), None)

    @property
    def audio(self) -> Stream | None:
        return next((stream for stream in self.streams if stream.kind == "audio"), None)

    @property
    def begin(self) -> float:
        """The time of the first packet."""
        return min((packet.pts for packet in self.packets), default=0.0)

    @property
    def seconds(self) -> float:
        """From the first packet's time to the end of the last."""
        if not self.packets:
            return 0.0
        return max(p.pts + p.duration for p in self.packets) - min(p.pts for p in self.packets)

    def of(self, stream: Stream) -> list[Packet]:
        return [packet for packet in self.packets if packet.stream == stream.index]


def probe(path: Path, *, digest: str = "") -> Contents:
    """List every packet of a file without decoding it. `digest="sha256"` hashes payloads with that instead of a CRC.

    Raises:
        MediaError: ffmpeg cannot open the file at all.
    """
    packets: list[Packet] = []
    contents = survey(path, packets.append, digest=digest)
    contents.packets = packets
    return contents


def survey(path: Path, on_packet: Callable[[Packet], object] = lambda _: None, *, digest: str = "") -> Contents:
    """As `probe`, but each packet only goes to `on_packet`: a file of any length takes no memory.

    Raises:
        MediaError: ffmpeg cannot open the file at all.
    """
    contents = Contents(path)
    streams: dict[int, Stream] = {}

    def take(line: str) -> None:
        if line.startswith("#"):
            read_header(line, streams)
        else:
            packet = read_packet(line, streams)
            if packet is not None:
                streams[packet.stream].packets += 1
                on_packet(packet)

    options = {"format": "framehash", "hash": digest} if digest else {"format": "framecrc"}
    graph = ffmpeg.output(source(path), "pipe:1", map=0, c="copy", **options)
    contents.complaints = run(graph, on_line=take)
    contents.streams = [streams[index] for index in sorted(streams)]
    _describe(contents)
    return contents


def read_header(line: str, streams: dict[int, Stream]) -> None:
    """Take a `#` line of ffmpeg's framecrc or framehash output into `streams`."""
    match = re.match(r"#(tb|media_type|codec_id|dimensions|sample_rate) (\d+): (.+)", line)
    if match is None:
        return
    name, value = match[1], match[3].strip()
    stream = streams.setdefault(int(match[2]), Stream(int(match[2]), "", ""))
    if name == "tb":
        above, _, below = value.partition("/")
        stream.time_base = int(above) / int(below or 1)
    elif name == "media_type":
        stream.kind = value
    elif name == "codec_id":
        stream.codec = value
    elif name == "dimensions":
        width, _, height = value.partition("x")
        stream.width, stream.height = int(width), int(height)
    else:
        stream.sample_rate = int(value)


def read_packet(line: str, streams: dict[int, Stream]) -> Packet | None:
    """A packet's line of framecrc or framehash output; None for anything else."""
    fields = [text.strip() for text in line.split(",")]
    if len(fields) < 6 or not fields[0].isdigit() or int(fields[0]) not in streams:
        return None
    base = streams[int(fields[0])].time_base
    dts, pts, duration, size = (int(text) if re.fullmatch(r"-?\d+", text) else 0 for text in fields[1:5])
    return Packet(int(fields[0]), dts * base, pts * base, duration * base, size, fields[5], "F=0x0" not in fields[6:])


def _describe(contents: Contents) -> None:
    """Add length, profile and pixel format, which only the words of `ffmpeg -i` tell."""
    path, streams = contents.path, contents.streams
    command = [*_base("info"), "-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS]
    command += ["-i", f"file:{path.absolute()}"]
    for line in _output(command).splitlines():
        length = re.match(r"  Duration: (\d+):(\d\d):(\d\d\.\d+)", line)
        if length is not None:
            contents.promised = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3])
        match = re.match(r"\s*Stream #0:(\d+)[^:]*: (?:Video|Audio): (\w+)(?: \(([^)]*)\))?[^,]*, (\w+)", line)
        if match is not None and int(match[1]) < len(streams):
            stream = streams[int(match[1])]
            stream.profile = match[3] or ""
            stream.pixel_format = match[4] if stream.kind == "video" else ""


# --- files


def sha256(path: Path, look: Callable[[memoryview], None] | None = None) -> str:
    """`sha256:<hex>` of a file; `look` is shown each block of it."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
            if look is not None:
                look(buffer[:size])
    return f"sha256:{digest.hexdigest()}"


# --- single pictures


def still(stream: Any) -> bytes | None:
    """The first picture of a stream of an ffmpeg-python graph as JPEG; None when it has none. Raises MediaError."""
    shown = ffmpeg.output(stream, "pipe:1", format="mjpeg", vframes=1, **{"q:v": 2})
    try:
        found, _complaints = ffmpeg.run(shown, cmd=_base(), capture_stdout=True, capture_stderr=True)
    except ffmpeg.Error as error:
        complaints = error.stderr.decode("utf-8", "replace").splitlines()
        raise MediaError(N_("ffmpeg failed: %(reason)s"), complaints, reason=" ".join(complaints[-3:])[:500]) from error
    return bytes(found) or None
