"""Copies and pictures that carry their viewer: who, which case, when, and a code that leads back to them (clause N2).

The text is burned into the picture: tiled, so that a cut-out still has some of it, moving, so that it cannot be
averaged away, half transparent, so that the footage stays usable. The code stands besides in small letters.
"""

import re
import secrets
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from device import media
from device.derivatives import PLAYABLE, Derivative, h264, sound
from device.media import MediaError
from device.publishing import published
from device.recorders.base import N_, ProgressCallback

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter that is taken for a digit."""

CODE_LENGTH = 8
LONGEST_LINE = 60

ROWS, COLUMNS = 4, 2
OPACITY, CODE_OPACITY = 0.3, 0.4
_CODE_PLACES = (("w*0.03", "h*0.03"), ("w*0.97-tw", "h*0.97-th"), ("(w-tw)/2", "(h-th)/2"))


@dataclass(frozen=True)
class Mark:
    """What is burned in: `lines` of any text, and the `code`."""

    lines: tuple[str, ...]
    code: str

    @property
    def text(self) -> str:
        return "\n".join(shown(line) for line in self.lines)


def new_code() -> str:
    """Forty random bits in letters and digits that can be read off a bad picture: `K7QF3MTX`."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def read_code(text: str) -> str:
    """What somebody read off a picture, as it was written: O is 0, I and L are 1; `?` stands for what is unreadable.

    Raises:
        ValueError: it cannot be a code.
    """
    found = re.sub(r"[\s-]", "", text).upper().translate(str.maketrans("OIL？", "011?"))
    if len(found) != CODE_LENGTH or set(found) - set(ALPHABET) - {"?"}:
        raise ValueError(f"{text!r} is no code: it has {CODE_LENGTH} letters and digits, ? for one that is unreadable")
    return found


def printed(code: str) -> str:
    """A code as it stands on the picture: `K7QF-3MTX`."""
    return f"{code[:4]}-{code[4:]}"


def shown(line: str) -> str:
    """A line without what turns, hides or breaks text (control and formatting characters), not longer than it fits."""
    plain = "".join(" " if unicodedata.category(letter) in {"Cc", "Zl", "Zp"} else letter for letter in line)
    kept = "".join(letter for letter in plain if unicodedata.category(letter) not in {"Cf", "Cs", "Cn"})
    return kept[:LONGEST_LINE]


def watermarked(
    film: Path, target: Path, mark: Mark, font: Path, progress: ProgressCallback | None = None
) -> Derivative:
    """A copy of `film` (MP4, H.264) with the mark burned into every picture; the sound is taken along.

    Raises:
        MediaError: the film has no picture that can be read.
        DiskFullError: there is no room; nothing was published.
    """
    contents = media.probe(film)
    if contents.video is None or not contents.video.packets:
        raise MediaError(N_("The file has no picture to mark."))
    taken, heard = media.source(film), sound(contents)
    options = {**h264(23), **heard}
    with _written(mark) as (text, code), published(target) as draft:
        streams = [_drawn(taken.video, text, code, font)] + ([taken.audio] if heard else [])
        written = ffmpeg.output(
            *streams, f"file:{draft.absolute()}", **PLAYABLE, **options, metadata=f"comment={printed(mark.code)}"
        )
        media.run(written.global_args("-y"), seconds=contents.seconds, progress=progress)
        size, digest = draft.stat().st_size, media.sha256(draft)
    parameters = {"kind": "watermark", "lines": mark.text.split("\n"), "code": mark.code, "font": font.name, **options}
    return Derivative(target, size, digest, contents.seconds, parameters)


def picture(film: Path, seconds: float, mark: Mark, font: Path) -> bytes | None:
    """What the film shows `seconds` after its beginning, marked, as JPEG; None after its end. Raises MediaError."""
    with _written(mark) as (text, code):
        taken = media.source(film, ss=f"{seconds:.3f}")
        return media.still(_drawn(taken.video, text, code, font))


@contextmanager
def _written(mark: Mark) -> Iterator[tuple[Path, Path]]:
    """The texts in files of their own: no character of a name is ever part of a filter or of a command line."""
    with tempfile.TemporaryDirectory(prefix="diaoqu-mark-") as folder:
        text, code = Path(folder, "text"), Path(folder, "code")
        text.write_text(mark.text, encoding="utf-8")
        code.write_text(printed(mark.code), encoding="ascii")
        yield text, code


def _drawn(stream: Any, text: Path, code: Path, font: Path) -> Any:
    """Rows of the text that drift sideways, every other row the other way, and the code where it stands still."""
    size = "max(12,min(h/22,w/26))"
    for row in range(ROWS):
        for column in range(COLUMNS):
            start = f"w*{column / COLUMNS + row * 0.37:.3f}"
            drift = f"{start}+w*0.02*t" if row % 2 else f"{start}-w*0.02*t+w*1000"
            stream = _letters(
                stream,
                text,
                font,
                OPACITY,
                fontsize=size,
                x=f"mod({drift},w*1.25)-w*0.25",
                y=f"h*{(row + 0.5) / ROWS:.3f}-th/2+h*0.04*sin(t/5+{row + column})",
            )
    for x, y in _CODE_PLACES:
        stream = _letters(stream, code, font, CODE_OPACITY, fontsize="max(9,min(h/40,w/50))", x=x, y=y)
    return stream


def _letters(stream: Any, text: Path, font: Path, opacity: float, **place: Any) -> Any:
    return ffmpeg.filter(
        stream,
        "drawtext",
        textfile=str(text),
        expansion="none",
        fontfile=str(font),
        fontcolor=f"white@{opacity}",
        borderw=1,
        bordercolor=f"black@{opacity}",
        **place,
    )
