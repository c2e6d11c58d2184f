import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from device.recorders.base import DiskFullError
from device.storage import (
    AlreadyStoredError,
    DigestMismatchError,
    FileMissingError,
    FolderStore,
    StoreError,
    copy_hashing,
    hash_bytes,
    hash_file,
    make_folder,
    open_store,
    open_stores,
    publish,
    translated,
    write_file,
)
from engine import clock
from engine.settings import Settings, SettingsError


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store", "primary")


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    path = tmp_path / "gate.mkv"
    path.write_bytes(b"frames" * 400_000)
    return path


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """The kernel refuses to write beyond `limit` bytes of a file, as a full file system does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_is_put_is_read_back_unchanged_and_read_only(store: FolderStore, footage: Path) -> None:
    seen: list[int] = []
    store.put("cases/调取-2026-0001/gate.mkv", footage, hash_file(footage), seen.append)
    with store.open("cases/调取-2026-0001/gate.mkv") as file:
        assert file.read() == footage.read_bytes()
    assert store.digest("cases/调取-2026-0001/gate.mkv") == hash_file(footage)
    assert store.path("cases/调取-2026-0001/gate.mkv").stat().st_mode & 0o777 == 0o444
    assert sum(seen) == footage.stat().st_size
    assert list(store.keys("cases")) == ["cases/调取-2026-0001/gate.mkv"]


def test_putting_the_same_content_again_changes_nothing(store: FolderStore, footage: Path) -> None:
    store.put("a/gate.mkv", footage, hash_file(footage))
    before = store.path("a/gate.mkv").stat()
    store.put("a/gate.mkv", footage, hash_file(footage))
    after = store.path("a/gate.mkv").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_stored_file_is_never_replaced(store: FolderStore, footage: Path, tmp_path: Path) -> None:
    store.put("a/gate.mkv", footage, hash_file(footage))
    other = tmp_path / "other.mkv"
    other.write_bytes(b"other")
    with pytest.raises(AlreadyStoredError):
        store.put("a/gate.mkv", other, hash_file(other))
    assert store.digest("a/gate.mkv") == hash_file(footage)


def test_a_source_that_changed_after_it_was_hashed_is_refused_and_leaves_nothing(
    store: FolderStore, footage: Path
) -> None:
    with pytest.raises(DigestMismatchError) as caught:
        store.put("a/gate.mkv", footage, hash_bytes(b"something else"))
    assert caught.value.found == hash_file(footage)
    assert not store.exists("a/gate.mkv")
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_reading_back_finds_damage_on_the_medium(store: FolderStore, footage: Path) -> None:
    store.put("a/gate.mkv", footage, hash_file(footage))
    path = store.path("a/gate.mkv")
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0")
    assert store.digest("a/gate.mkv") != hash_file(footage)


def test_a_missing_file_is_named(store: FolderStore) -> None:
    with pytest.raises(FileMissingError, match=r"gone\.mkv is missing"):
        store.digest("a/gone.mkv")
    with pytest.raises(FileMissingError):
        store.open("a/gone.mkv")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../outside", "a/../../outside", ".incoming/x", "a\\b"])
def test_a_key_cannot_leave_the_store(store: FolderStore, key: str) -> None:
    with pytest.raises(StoreError):
        store.path(key)


def test_a_full_disk_is_said_and_nothing_half_written_stays(store: FolderStore, footage: Path) -> None:
    digest = hash_file(footage)
    with small_disk(1_000_000), pytest.raises(DiskFullError, match="no room left"):
        store.put("a/gate.mkv", footage, digest)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []
    store.put("a/gate.mkv", footage, digest)
    assert store.digest("a/gate.mkv") == digest


def test_a_device_without_room_is_a_full_disk(footage: Path) -> None:
    with pytest.raises(DiskFullError):
        copy_hashing(footage, Path("/dev/full"))


def test_other_trouble_of_the_system_is_a_store_error_with_its_reason() -> None:
    with pytest.raises(StoreError, match="store: Input/output error"), translated("store"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_where_the_store_should_be_is_a_store_error(tmp_path: Path, footage: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match="store"):
        FolderStore(tmp_path / "store", "primary").put("a/gate.mkv", footage, hash_file(footage))


def test_publishing_over_an_existing_file_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    with pytest.raises(FileExistsError):
        publish(second, first)
    assert first.read_bytes() == b"1"


def test_what_a_killed_process_left_is_removed_after_a_week(store: FolderStore, footage: Path) -> None:
    make_folder(store.root / ".incoming")
    left = store.root / ".incoming" / "left.part"
    left.write_bytes(b"half")
    store.put("a/one.mkv", footage, hash_file(footage))
    assert left.exists()
    with clock.fixed(clock.now() + timedelta(days=8)):
        store.put("a/two.mkv", footage, hash_file(footage))
    assert not left.exists()


def test_a_working_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_file(tmp_path / "new" / "report.json", b"1")
    write_file(tmp_path / "new" / "report.json", b"2")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.json"]
    assert (tmp_path / "new" / "report.json").read_bytes() == b"2"


def test_store_addresses_are_understood_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    assert open_store(folder.as_uri(), "primary").url == folder.as_uri()
    with pytest.raises(SettingsError, match="not supported yet"):
        open_store("s3://bucket/prefix")
    for wrong in ("evidence", "http://host/x", "file://host/share", "file:relative"):
        with pytest.raises(SettingsError, match="no address of a store"):
            open_store(wrong)


def test_both_copies_on_one_store_are_refused(tmp_path: Path) -> None:
    settings = Settings(
        data=tmp_path,
        database_url="sqlite://",
        store_primary=tmp_path.as_uri(),
        store_backup=tmp_path.as_uri(),
        secret_key="x" * 32,
    )
    with pytest.raises(SettingsError, match="two different places"):
        open_stores(settings)
