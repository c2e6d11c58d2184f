"""Stores that are written once: put, read back, never change (clauses 3.3 and 5.1).

The order of every write is: write, fsync the file, publish it under its name, fsync the folder; only then may a row
say that it exists. A crash at any moment leaves either nothing or the whole file (docs/evidence-format.md).
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from device.recorders.base import DeviceError, DiskFullError
from engine import clock
from engine.errors import N_, DiaoquError
from engine.settings import Settings, SettingsError

BLOCK = 1 << 20
ABANDONED = timedelta(days=7)
READ_ONLY = 0o444
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS}


class StoreError(DiaoquError, DeviceError):
    """A store could not be read or written: check that it is connected and that its folder may be written."""


class AlreadyStoredError(StoreError):
    """The name is taken by other content; what is stored is never rewritten."""


class FixityError(StoreError):
    """A stored file is not what was recorded about it."""


class DigestMismatchError(FixityError):
    """The content differs from its recorded digest."""

    def __init__(self, path: str, algorithm: str, expected: str, found: str) -> None:
        self.path, self.algorithm, self.expected, self.found = path, algorithm, expected, found
        super().__init__(
            N_("%(path)s is damaged: its %(algorithm)s should be %(expected)s and is %(found)s."),
            path=path,
            algorithm=algorithm,
            expected=expected,
            found=found,
        )


class FileMissingError(FixityError):
    """A recorded file is not there."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(N_("%(path)s is missing."), path=path)


Watch = Callable[[int], None]
"""Called with the number of bytes done since the last call; may raise to stop."""


class Store(Protocol):
    """A place for write-once files. Keys are relative POSIX paths; digests are `sha256:<hex>`."""

    name: str
    url: str

    def put(self, key: str, source: Path, digest: str, watch: Watch | None = None) -> None:
        """Store `source` under `key` and read it back. Storing the same content again does nothing.

        Raises:
            AlreadyStoredError: `key` holds something else.
            DigestMismatchError: the source, or what was read back, does not have this digest.
            DiskFullError, StoreError
        """
        ...

    def digest(self, key: str, watch: Watch | None = None) -> str:
        """Read the whole content and hash it. Raises FileMissingError, StoreError."""
        ...

    def open(self, key: str) -> BinaryIO: ...

    def exists(self, key: str) -> bool: ...

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys under the folder `prefix`, sorted."""
        ...

    def free(self) -> int | None:
        """Bytes that still fit, or None when the store does not know."""
        ...


class FolderStore:
    """A store in a folder: a disk, a mounted share. Its files can be read and checked without this program."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        self.url = root.as_uri()

    def path(self, key: str) -> Path:
        """Where `key` lies. Raises StoreError for a key that would leave the store."""
        pure = PurePosixPath(key)
        if not key or pure.is_absolute() or "\\" in key or any(part.startswith(".") for part in pure.parts):
            raise StoreError(N_("%(key)s is no name for a stored file."), key=key)
        return self.root / pure

    def put(self, key: str, source: Path, digest: str, watch: Watch | None = None) -> None:
        target = self.path(key)
        with translated(str(target)):
            if target.exists():
                self._same(target, key, digest, watch)
                return
            if source.stat().st_size > shutil.disk_usage(existing(target)).free:
                raise DiskFullError(
                    N_("the store %(name)s has no room for %(file)s: free some space"),
                    name=self.name,
                    file=source.name,
                )
            temporary = self._temporary()
            try:
                copied = copy_hashing(source, temporary, watch)
                if copied != digest:
                    raise DigestMismatchError(str(source), "sha256", digest, copied)
                found = hash_file(temporary, fresh=True)
                if found != digest:
                    raise DigestMismatchError(str(target), "sha256", digest, found)
                try:
                    publish(temporary, target)
                except FileExistsError:
                    self._same(target, key, digest, watch)
            finally:
                temporary.unlink(missing_ok=True)

    def _temporary(self) -> Path:
        """A name beside the evidence, never among it: a crash must not leave a stray file inside a bag."""
        incoming = self.root / ".incoming"
        make_folder(incoming)
        for left in incoming.iterdir():  # by a process that was killed
            if clock.now().timestamp() - left.stat().st_mtime > ABANDONED.total_seconds():
                left.unlink(missing_ok=True)
        return incoming / f"{uuid4().hex}.part"

    def _same(self, target: Path, key: str, digest: str, watch: Watch | None) -> None:
        if hash_file(target, watch, fresh=True) != digest:
            raise AlreadyStoredError(
                N_("The store %(store)s holds other content under %(key)s."), store=self.name, key=key
            )

    def digest(self, key: str, watch: Watch | None = None) -> str:
        with translated(self._known(key)):
            return hash_file(self.path(key), watch, fresh=True)

    def open(self, key: str) -> BinaryIO:
        with translated(self._known(key)):
            return self.path(key).open("rb")

    def exists(self, key: str) -> bool:
        return self.path(key).is_file()

    def keys(self, prefix: str) -> Iterator[str]:
        folder = self.path(prefix)
        found = (path.relative_to(self.root).as_posix() for path in folder.rglob("*") if path.is_file())
        yield from sorted(key for key in found if not PurePosixPath(key).name.startswith("."))

    def free(self) -> int | None:
        with translated(str(self.root)):
            return shutil.disk_usage(existing(self.root)).free

    def _known(self, key: str) -> str:
        path = self.path(key)
        if not path.is_file():
            raise FileMissingError(str(path))
        return str(path)


def open_store(url: str, name: str = "") -> Store:
    """The store at `url`. `s3://` is reserved for a store with Object Lock and not supported by this version.

    Raises:
        SettingsError: the address has another scheme than `file://`, or no absolute path.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        raise SettingsError(N_("%(url)s: s3:// stores are not supported yet; use a file:// address."), url=url)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        raise SettingsError(
            N_("%(url)s is no address of a store: write file:// and an absolute path, like file:///srv/evidence."),
            url=url,
        )
    return FolderStore(Path(unquote(parts.path)), name or url)


def open_stores(settings: Settings) -> tuple[Store, Store]:
    """The primary and the backup store.

    Raises:
        SettingsError: an address is wrong, or both are the same place (one accident would take both copies).
    """
    primary, backup = open_store(settings.store_primary, "primary"), open_store(settings.store_backup, "backup")
    if primary.url == backup.url:
        raise SettingsError(N_("DIAOQU_STORE_PRIMARY and DIAOQU_STORE_BACKUP must be two different places."))
    return primary, backup


# ---- files that survive a power cut ---------------------------------------------------------------------------------


def hash_file(path: Path, watch: Watch | None = None, *, fresh: bool = False) -> str:
    """`sha256:<hex>` of a file. `fresh` drops the page cache first, so that the medium itself is read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if fresh:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := file.read(BLOCK):
            digest.update(block)
            if watch:
                watch(len(block))
    return f"sha256:{digest.hexdigest()}"


def hash_bytes(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def copy_hashing(source: Path, target: Path, watch: Watch | None = None) -> str:
    """Copy and return the digest of what was read; `target` is on the medium when this returns."""
    digest = hashlib.sha256()
    with translated(str(target)), source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(BLOCK):
            digest.update(block)
            writer.write(block)
            if watch:
                watch(len(block))
        sync_file(writer)
    return f"sha256:{digest.hexdigest()}"


def write_file(target: Path, content: bytes) -> None:
    """Replace a working file in one step; never for evidence."""
    temporary = target.with_name(f".{target.name}.{uuid4().hex}.part")
    with translated(str(target)):
        make_folder(target.parent)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                sync_file(file)
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def publish(temporary: Path, target: Path) -> None:
    """Give a finished file its name: read-only, on the medium, and never in place of another file.

    Raises:
        FileExistsError: the name is taken.
    """
    make_folder(target.parent)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.chmod(READ_ONLY)
    try:
        os.link(temporary, target)  # unlike rename, it never replaces a file that another process put there meanwhile
        temporary.unlink()
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        temporary.rename(target)
    sync_folder(target.parent)


def sync_file(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents so that they survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn the operating system's errors into DiskFullError and StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFullError(N_("no room left for %(place)s: free some space and try again"), place=place) from error
        raise StoreError(N_("%(place)s: %(reason)s"), place=place, reason=error.strerror or str(error)) from error


def existing(path: Path) -> Path:
    """The nearest folder that exists, to ask how much room there is."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())
