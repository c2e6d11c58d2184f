"""Redacted copies: what the regions name is painted over in every picture, for good; the master stays as it is.

`fill` puts one dark colour there and is the rule: nothing of what was below is left. `pixelate` leaves a few blocks of
average colour for footage where one must see that somebody moves; it hides a face from eyes, not from every computation
over many pictures. Where several people are hidden to protect them, use `fill`.
"""

from pathlib import Path
from typing import Any, Literal, get_args

from device import media, raw_frames
from device.derivatives import Derivative, h264
from device.faces import opencv
from device.media import MediaError
from device.raw_frames import Picture
from device.recorders.base import N_, ProgressCallback
from device.regions import Region

Manner = Literal["fill", "pixelate"]
MANNERS: tuple[Manner, ...] = get_args(Manner)

DARK = (40, 128, 128)
BLOCKS = 5
"""Blocks along the longer side of a region: too few to tell a face by."""


def redacted(
    film: Path,
    target: Path,
    regions: list[Region],
    *,
    manner: Manner = "fill",
    audible: bool = True,
    progress: ProgressCallback | None = None,
) -> Derivative:
    """A copy of `film` (MP4, H.264) in which the regions that are on are painted over; without sound if so wished.

    Raises:
        MediaError: the film cannot be decoded, or the extra `redaction` is not installed.
        DiskFullError: there is no room; nothing was published.
    """
    contents = media.probe(film)
    painter, crf = _Painter(regions, manner), 20
    decoded = raw_frames.pictures(film)
    try:
        first = next(decoded, None)
        if first is None:
            raise MediaError(N_("The file has no picture to redact."))
        size = {"width": first.width, "height": first.height}
        with raw_frames.film(target, film, **size, begins=first.at, audible=audible, crf=crf) as made:
            count = 0
            for picture in _again(first, decoded):
                painter.paint(picture)
                made.add(picture)
                count += 1
                if progress is not None:
                    part = min(1.0, picture.at / contents.seconds) if contents.seconds else 0.0
                    progress({"fraction": part, "media_seconds": picture.at})
    finally:
        decoded.close()
    parameters: dict[str, Any] = {
        "kind": "redaction",
        "manner": manner,
        "regions": len([region for region in regions if region.on]),
        "pictures": count,
        "sound": audible and contents.audio is not None,
        **h264(crf),
    }
    return Derivative(target, target.stat().st_size, media.sha256(target), contents.seconds, parameters)


def _again(first: Picture, rest: Any) -> Any:
    yield first
    yield from rest


class _Painter:
    """Paints the regions over planes of luma and chroma, without touching a pixel outside."""

    def __init__(self, regions: list[Region], manner: Manner) -> None:
        import numpy

        self._numpy, self._cv = numpy, opencv()
        self._regions, self._manner = regions, manner

    def paint(self, picture: Picture) -> None:
        outlines = [region.outline(picture.at) for region in self._regions if region.hides(picture.at)]
        if not outlines:
            return
        luma = picture.width * picture.height
        pixels = self._numpy.frombuffer(picture.pixels, self._numpy.uint8)
        planes = [
            (pixels[:luma].reshape(picture.height, picture.width), 1, DARK[0]),
            (pixels[luma : luma * 5 // 4].reshape(picture.height // 2, picture.width // 2), 2, DARK[1]),
            (pixels[luma * 5 // 4 :].reshape(picture.height // 2, picture.width // 2), 2, DARK[2]),
        ]
        for outline in outlines:
            for plane, scale, dark in planes:
                self._cover(plane, [(x / scale, y / scale) for x, y in outline], dark)

    def _cover(self, plane: Any, outline: list[tuple[float, float]], dark: int) -> None:
        height, width = plane.shape
        left, right = (bound(x for x, _y in outline) for bound in (min, max))
        top, low = (bound(y for _x, y in outline) for bound in (min, max))
        left, top = max(0, int(left)), max(0, int(top))
        right, low = min(width, int(right) + 2), min(height, int(low) + 2)
        if left >= right or top >= low:
            return
        part = plane[top:low, left:right]
        mask = self._numpy.zeros(part.shape, self._numpy.uint8)
        corners = self._numpy.array([[round(x - left), round(y - top)] for x, y in outline], self._numpy.int32)
        self._cv.fillPoly(mask, [corners], 255)
        if self._manner == "fill":
            part[mask > 0] = dark
        else:
            part[mask > 0] = self._blocks(part)[mask > 0]

    def _blocks(self, part: Any) -> Any:
        height, width = part.shape
        block = -(-max(height, width) // BLOCKS)
        small = (max(1, width // block), max(1, height // block))
        coarse = self._cv.resize(part, small, interpolation=self._cv.INTER_AREA)
        return self._cv.resize(coarse, (width, height), interpolation=self._cv.INTER_NEAREST)
