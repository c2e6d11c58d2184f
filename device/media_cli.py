"""`diaoqu media`: what is made of a film – viewing copies, watermarks, stills, redaction – without service or database.

Exit status 0 done, 1 found a problem, 2 wrong use. With `--json` standard output is one JSON document.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from device import derivatives as made
from device import faces, media, redaction, regions, stills, watermark
from device.documents.fonts import font_path
from device.publishing import published
from device.recorders.base import N_, DeviceError, ProgressCallback
from device.regions import RegionError
from device.watermark import Mark

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("media")
def commands() -> None:
    """Make viewing copies, watermarked and redacted copies and stills of a film; the film itself is not touched."""


def _of_a_film(command: Callable[..., Any]) -> Callable[..., Any]:
    """The film, the file to write, and errors as one line with status 1."""

    @click.argument("film", type=FILE)
    @click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
    @click.option("--force", is_flag=True, help="Replace the file if it exists.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(command)
    def wrapped(film: Path, out: Path, force: bool, as_json: bool, **options: Any) -> None:
        if out.exists() and (not force or out.samefile(film)):
            raise click.UsageError(f"{out} exists: choose another name, or --force to replace it (never the film).")
        try:
            said = {"source": film.name, "source_sha256": media.sha256(film), **command(film=film, out=out, **options)}
        except (DeviceError, RegionError, OSError) as error:
            click.echo(f"diaoqu: {error}", err=True)
            sys.exit(1)
        if as_json:
            click.echo(json.dumps(said, ensure_ascii=False, indent=2))
        else:
            click.echo(f"{out}: {said['size'] / 1e6:.1f} MB, {said['sha256']}")

    return wrapped


def _marked(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is burned in."""

    @click.option("--line", "lines", multiple=True, help="A line to burn in: who, which case, when. May be repeated.")
    @click.option("--code", default="", help="The code that leads back to the viewer (default: a new one).")
    @click.option("--font", type=FILE, help="A TrueType font (default: the one of the documents).")
    @wraps(command)
    def wrapped(*args: Any, lines: tuple[str, ...], code: str, font: Path | None, **options: Any) -> Any:
        try:
            mark = Mark(lines, watermark.read_code(code) if code else watermark.new_code())
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--code") from error
        return command(*args, mark=mark, font=font, **options)

    return wrapped


@commands.command()
@_of_a_film
def viewing(film: Path, out: Path) -> dict[str, Any]:
    """A copy (MP4) that every browser plays; re-encoded only where it must be."""
    with _progress() as progress:
        return made.viewing_copy(film, out, progress).to_json()


@commands.command("watermark")
@_of_a_film
@_marked
def watermark_(film: Path, out: Path, mark: Mark, font: Path | None) -> dict[str, Any]:
    """A copy (MP4) for one viewer: lines and a code are burned into every picture."""
    if not mark.lines:
        raise click.UsageError("Say what to burn in with --line.")
    with _progress() as progress:
        return watermark.watermarked(film, out, mark, font or font_path(), progress).to_json()


@commands.command()
@_of_a_film
@_marked
@click.option("--at", type=click.FloatRange(min=0), required=True, help="Seconds after the beginning.")
def still(film: Path, out: Path, mark: Mark, font: Path | None, at: float) -> dict[str, Any]:
    """One picture (JPEG), with --line watermarked."""
    found = watermark.picture(film, at, mark, font or font_path()) if mark.lines else stills.picture(film, at)
    if found is None:
        raise media.MediaError(N_("%(name)s is shorter than %(at)s seconds."), name=film.name, at=at)
    with published(out) as draft:
        draft.write_bytes(found)
    code = {"code": mark.code} if mark.lines else {}
    return {"file": out.name, "size": len(found), "sha256": media.sha256(out), "at": at, **code}


@commands.command("faces")
@_of_a_film
def faces_(film: Path, out: Path) -> dict[str, Any]:
    """A list of regions (JSON) with the faces that were found, to look through before `blur` takes it."""
    with _progress() as progress:
        found = faces.propose(film, media.probe(film).seconds, progress)
    size = {"width": found.width, "height": found.height}
    document = regions.to_json(found.regions, **size, master=media.sha256(film), detector=found.detector)
    with published(out) as draft:
        draft.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    count = len(found.regions)
    return {"file": out.name, "size": out.stat().st_size, "sha256": media.sha256(out), "regions": count}


@commands.command()
@_of_a_film
@click.option("--regions", "listed", type=FILE, required=True, help="List of regions, as `faces` writes it.")
@click.option("--manner", type=click.Choice(redaction.MANNERS), default="fill", show_default=True)
@click.option("--mute", is_flag=True, help="Leave the sound out: a voice is known again too.")
def blur(film: Path, out: Path, listed: Path, manner: redaction.Manner, mute: bool) -> dict[str, Any]:
    """A copy (MP4) in which regions are painted over for good."""
    try:
        found = regions.from_json(json.loads(listed.read_text(encoding="utf-8")))
    except ValueError as error:
        raise RegionError(f"{listed.name}: {error}") from error
    with _progress() as progress:
        done = redaction.redacted(film, out, found, manner=manner, audible=not mute, progress=progress)
    return {**done.to_json(), "regions_sha256": media.sha256(listed)}


@contextmanager
def _progress() -> Iterator[ProgressCallback | None]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("[progress.percentage]{task.percentage:>3.0f} %"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda facts: bar.update(task, completed=float(facts.get("fraction") or 0.0))
