"""Files appear whole or not at all: written beside their place, fsynced, renamed, and the folder fsynced.

While it is written the draft is locked (flock), and the lock ends with the process. So whoever publishes the same file
next sees which drafts a killed process has left, and clears them away. The same goes for folders of what a file is
made from.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from device.recorders.base import N_, DiskFullError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def published(target: Path) -> Iterator[Path]:
    """A draft beside `target` that takes its place when the block ends well, and is removed when it does not.

    The draft is there, empty, when the block begins. Write order: file, fsync, rename, fsync of the folder.

    Raises:
        DiskFullError: there is no room for even one more file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_drafts(target)
    draft, handle = _drafted(target)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(target)
        sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)
        os.close(handle)


def clear_drafts(target: Path) -> None:
    """Remove the drafts of `target` that no living process is writing."""
    for draft in target.parent.glob(f".{_escaped(target.stem[:80])}.????????.part{_escaped(target.suffix)}"):
        with contextlib.suppress(OSError):  # another process was quicker, or the file system knows no locks
            handle = os.open(draft, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()
            finally:
                os.close(handle)


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A folder for what `target` is made from, on the same disk; removed when the block ends."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{_escaped(target.stem[:80])}.????????.download"):
        clear_folder(left)
    folder, handle = _made_folder(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _made_folder(target: Path) -> tuple[Path, int]:
    """A new folder, held; once more when somebody cleared it away before it was."""
    while True:
        folder = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(4)}.download")
        folder.mkdir(mode=0o700)
        try:
            handle = hold(folder)
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError:  # a file system without locks, where nothing is cleared away either
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        if folder.exists():
            return folder, handle
        os.close(handle)


def hold(folder: Path) -> int:
    """Hold a folder for this process: until the handle is closed or the process ends, however it ends.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: it is gone.
        OSError: its file system knows no locks.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def clear_folder(folder: Path) -> None:
    """Remove a folder unless a living process holds it."""
    with contextlib.suppress(OSError):  # it is held, another process was quicker, or the file system knows no locks
        handle = hold(folder)
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _escaped(text: str) -> str:
    """A name for `glob` in which every character stands for itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _drafted(target: Path) -> tuple[Path, int]:
    """A new draft, locked; once more when somebody cleared it away before it was."""
    while True:
        draft = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(4)}.part{target.suffix}")
        try:
            handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise DiskFullError(N_("There is no room left in %(folder)s."), folder=str(target.parent)) from error
            raise
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if draft.exists():
            return draft, handle
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
