"""Single pictures out of footage: the master's own frame for the record, and what a player shows at some second."""

from pathlib import Path

from device import media


def picture(film: Path, seconds: float) -> bytes | None:
    """What the film shows `seconds` after its beginning, as JPEG; None after its end.

    Raises:
        MediaError: the film cannot be read.
    """
    return media.still(media.source(film, ss=f"{seconds:.3f}").video)
