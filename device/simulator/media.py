"""Encodes the simulator's footage once, before anything is served: ten minutes per camera with a burned-in clock.

The hour cannot be known when the footage is made, so the picture shows what repeats: the last digit of the minute, the
second and its hundredths, which agree with the recorder's clock modulo ten minutes, and the number of the frame.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device.simulator.cameras import CAMERAS, LOOP, SimulatedCamera

_EDITION = "3"
"""Counted up when anything below changes the encoded bytes: the cached files of older editions are then replaced."""

_SOUND = {
    "PCMU": ("ulaw", "pcm_mulaw", "mulaw", 8000),
    "PCMA": ("alaw", "pcm_alaw", "alaw", 8000),
    "AAC": ("aac", "aac", "adts", 16000),
}
"""File name ending, encoder, container and sampling rate."""

_SYSTEM_FONTS = (
    Path("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"),
    Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),
    Path("/usr/share/fonts/truetype/noto/NotoSansMono-Regular.ttf"),
    Path("/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf"),
)


class MediaError(Exception):
    """The simulator's footage cannot be made on this machine; the message says what is missing."""


@dataclass(frozen=True)
class CameraMedia:
    """The elementary streams of one camera's loop: Annex B or concatenated JPEG video, raw G.711 or ADTS sound."""

    camera: SimulatedCamera
    video: Path
    audio: Path | None


def prepare_media(folder: Path, cameras: Sequence[SimulatedCamera] = CAMERAS) -> list[CameraMedia]:
    """Return the loops of `cameras`, encoding into `folder` those that are not there yet.

    Takes about 30 s of processor time for all four and under 60 MB; afterwards nothing. Several processes may call it
    for the same folder: one encodes, the others wait. A file appears under its name only when it is whole.

    Raises:
        MediaError: there is no ffmpeg, no font for the clock, or the encoding failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    media = [_place(folder, camera) for camera in cameras]
    with _alone(folder):
        absent = [item for item in media if not _is_there(item)]
        if absent:
            ffmpeg, font = find_ffmpeg(), find_font()
            # One single-threaded encoder per core costs less processor time than encoders that share frames.
            with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as encoders:
                list(encoders.map(lambda item: _encode(item, ffmpeg, font), absent))
    return media


def find_ffmpeg() -> str:
    """The system's ffmpeg, else the one in the imageio-ffmpeg package.

    Raises:
        MediaError: there is neither.
    """
    system = shutil.which("ffmpeg")
    if system:
        return system
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    raise MediaError("there is no ffmpeg: install the system's package or `pip install imageio-ffmpeg`")


def find_font() -> Path:
    """A TrueType font for the burned-in clock: a system font, else the Vera that comes with reportlab.

    Raises:
        MediaError: there is neither.
    """
    for path in _SYSTEM_FONTS:
        if path.is_file():
            return path
    package = importlib.util.find_spec("reportlab")
    if package and package.origin:
        vera = Path(package.origin).parent / "fonts" / "Vera.ttf"
        if vera.is_file():
            return vera
    raise MediaError("there is no font for the burned-in clock: `pip install reportlab`, which brings one")


def _place(folder: Path, camera: SimulatedCamera) -> CameraMedia:
    described = (
        _EDITION,
        camera.label,
        camera.codec,
        camera.width,
        camera.height,
        camera.period,
        camera.gop,
        _scene(camera),
    )
    key = hashlib.sha256(repr(described).encode()).hexdigest()[:12]
    audio = folder / f"{camera.token}-{key}.{_SOUND[camera.audio][0]}" if camera.audio else None
    return CameraMedia(camera, folder / f"{camera.token}-{key}.{camera.codec.lower()}", audio)


def _is_there(media: CameraMedia) -> bool:
    return media.video.is_file() and (media.audio is None or media.audio.is_file())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _encode(media: CameraMedia, ffmpeg: str, font: Path) -> None:
    with tempfile.TemporaryDirectory(dir=media.video.parent, prefix=".encoding-") as name:
        work = Path(name)
        # A copy under a plain name: no path then needs the filter graph's own escaping.
        shutil.copyfile(font, work / "font.ttf")
        if media.audio:
            _run(ffmpeg, _audio_arguments(media.camera.audio or "PCMU"), work)
            _publish(work / "audio", media.audio)
        _run(ffmpeg, _video_arguments(media.camera), work)
        _publish(work / "video", media.video)
    for old in media.video.parent.glob(f"{media.camera.token}-*"):
        if old not in (media.video, media.audio):
            old.unlink()


def _publish(made: Path, final: Path) -> None:
    with made.open("rb") as stream:
        os.fsync(stream.fileno())
    made.replace(final)


def _run(ffmpeg: str, arguments: list[str], work: Path) -> None:
    done = subprocess.run(  # the arguments are constants of this module
        [ffmpeg, "-v", "error", "-nostdin", "-y", *arguments], cwd=work, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MediaError(f"ffmpeg could not make the simulator's footage: {done.stderr.strip()[-500:]}")


def _video_arguments(camera: SimulatedCamera) -> list[str]:
    gop = f"keyint={camera.gop}:min-keyint={camera.gop}:scenecut=0:bframes=0:open-gop=0:repeat-headers=1"
    if camera.codec == "H265":
        encoder = ["-c:v", "libx265", "-preset", "ultrafast", "-crf", "30", "-f", "hevc"]
        encoder += ["-x265-params", f"log-level=error:pools=1:frame-threads=1:{gop}"]
    elif camera.codec == "JPEG":  # baseline 4:2:0 with the standard Huffman tables: all that RFC 2435 can carry
        encoder = ["-c:v", "mjpeg", "-huffman", "default", "-q:v", "8", "-pix_fmt", "yuvj420p", "-f", "mjpeg"]
    else:
        encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-crf", "27", "-f", "h264"]
        encoder += ["-x264-params", gop]
    frames = str(LOOP // camera.period)
    return ["-filter_complex", _graph(camera), "-map", "[out]", "-frames:v", frames, *encoder, "video"]


def _audio_arguments(codec: str) -> list[str]:
    """A soft room tone with a beep at the start of each second, so that picture and sound can be compared."""
    tone = "0.02*sin(2*PI*180*t)+0.25*sin(2*PI*880*t)*lt(mod(t,1),0.08)"
    source = f"aevalsrc='{tone}':s={_SOUND[codec][3]}:c=mono:d={LOOP.total_seconds():.0f}"
    return ["-f", "lavfi", "-i", source, "-c:a", _SOUND[codec][1], "-f", _SOUND[codec][2], "audio"]


def _graph(camera: SimulatedCamera) -> str:
    """A painted room (one frame, repeated), something that moves through it, and the clock."""
    rate = f"1000000/{camera.period.microseconds}"
    hold = f"loop=loop=-1:size=1:start=0,setpts=N/({rate})/TB"
    room, mover, path = _scene(camera)
    digits = (
        r"%{eif\:floor(mod(t+0.001\,600)/60)\:d}\:%{eif\:floor(mod(t+0.001\,60))\:d\:2}"
        r".%{eif\:floor(mod(t*100+0.1\,100))\:d\:2}"
    )
    text = rf"{camera.label}   __\:_{digits}   #%{{n}}"
    size = camera.height // 18
    return (
        f"color=s={camera.width}x{camera.height}:r={rate}:d=0.05:{room},format=yuv420p,{hold}[room];"
        f"color=r={rate}:d=0.05:{mover},format=yuv420p,{hold}[mover];"
        f"[room][mover]overlay={path}:eval=frame:shortest=0,"
        f"drawtext=fontfile=font.ttf:fontsize={size}:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw=6"
        f":x=14:y=14:text='{text}'[out]"
    )


def _boxes(*boxes: tuple[int, int, int, int, str]) -> str:
    return ",".join(f"drawbox={x}:{y}:{w}:{h}:{colour}:fill" for x, y, w, h, colour in boxes)


def _scene(camera: SimulatedCamera) -> tuple[str, str, str]:
    """The room, what moves in it, and its path: fragments of a filter graph, in the camera's own pixels."""
    person = "s=34x96:c=0x2b3a55," + _boxes((9, 0, 16, 18, "0xd9a27e"), (0, 20, 34, 44, "0xc8553d"))
    w, h = camera.width, camera.height
    floor = (0, h * 6 // 10, w, h * 4 // 10, "0x59616b")
    match camera.token:
        case "garage":
            car = "s=120x48:c=0x8c2f39," + _boxes((24, 4, 72, 18, "0xaecbdc"), (12, 38, 24, 10, "0x111111"))
            car += "," + _boxes((84, 38, 24, 10, "0x111111"))
            pillars = [(x, 40, 26, h - 80, "0x8a8f96") for x in range(30, w, 140)]
            return "c=0x3c4148," + _boxes(floor, *pillars), car, f"x='{w // 2 - 60}+{w // 2 - 70}*sin(t/4)':y={h - 84}"
        case "counter":
            desk = [(120, 200, 400, 90, "0x7a5a3a"), (120, 192, 400, 10, "0xa07a50"), (300, 150, 60, 44, "0x20242a")]
            return "c=0xb8b09e," + _boxes(floor, *desk), person, f"x='{w // 2}+{w // 3}*sin(t/5)':y={h - 110}"
        case "lobby":
            doors = [(230, 70, 84, 146, "0x9fc3d6"), (322, 70, 84, 146, "0x9fc3d6"), (60, 90, 90, 60, "0xd7c9a3")]
            path = f"x='{w // 2 - 17}+{w // 2 - 40}*sin(t/6)':y='{h // 2}+40*cos(t/9)'"
            return "c=0xcfd2cd," + _boxes(floor, *doors), person, path
        case _:
            bars = [(x, 120, 6, 110, "0x2e3b34") for x in range(20, w, 34)]
            path = f"x='{w // 2 - 17}+{w // 2 - 40}*sin(t/7)':y={h - 130}"
            return "c=0x9db4c0," + _boxes(floor, *bars), person, path
