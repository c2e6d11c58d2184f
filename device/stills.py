"""Single pictures out of footage: what access of the mode `still` delivers (rules of conduct)."""

from pathlib import Path

import ffmpeg

from device import media


def picture(film: Path, seconds: float) -> bytes | None:
    """What the film shows `seconds` after its beginning, as JPEG; None after its end.

    Raises:
        MediaError: the film cannot be read.
    """
    shown = ffmpeg.output(media.source(film, ss=f"{seconds:.3f}"), "pipe:1", format="mjpeg", vframes=1, **{"q:v": 2})
    command = [media.ffmpeg_path(), "-hide_banner", "-nostdin", "-v", "error"]
    try:
        found, _complaints = ffmpeg.run(shown, cmd=command, capture_stdout=True, capture_stderr=True)
    except ffmpeg.Error as error:
        complaints = error.stderr.decode("utf-8", "replace").splitlines()
        raise media.MediaError(f"ffmpeg failed: {' '.join(complaints[-3:])[:500]}", complaints) from error
    return bytes(found) or None
