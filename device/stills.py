"""Single pictures out of footage: the master's own frame for the record, and what a player shows at some second."""

from pathlib import Path

import ffmpeg

from device import media


def picture(film: Path, seconds: float, box: tuple[int, int, int, int] | None = None) -> bytes | None:
    """What the film shows `seconds` after its beginning, as JPEG; None after its end.

    `box` is a part of the picture: x, y, width, height, moved and cut so that it lies within.

    Raises:
        MediaError: the film cannot be read.
    """
    taken = media.source(film, ss=f"{seconds:.3f}").video
    if box is not None:
        x, y, width, height = (max(value, smallest) for value, smallest in zip(box, (0, 0, 16, 16), strict=True))
        w, h = f"min(iw,{width})", f"min(ih,{height})"
        taken = ffmpeg.filter(taken, "crop", w=w, h=h, x=f"min({x},iw-ow)", y=f"min({y},ih-oh)")
    return media.still(taken)
