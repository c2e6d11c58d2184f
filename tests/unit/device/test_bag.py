import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from device import bags
from device.bags import TAG_MANIFEST, BagError, put_bag, read_bag, validate, verify_bag, write_bag
from device.storage import AlreadyStoredError, FolderStore, StoreError, hash_file

INFO = [("External-Identifier", "调取-2026-0001"), ("Bagging-Date", "2026-02-10")]


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    path = tmp_path / "gate.mkv"
    path.write_bytes(b"frames" * 1000)
    path.chmod(0o444)
    return path


@pytest.fixture
def bag(tmp_path: Path, footage: Path) -> bags.Bag:
    payload = {"footage/gate.mkv": footage, "forms/申请表.json": b"{}", "empty.txt": b""}
    return write_bag(tmp_path / "bag", payload, INFO)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bagits_own_command_line_accepts_the_bag(bag: bags.Bag) -> None:
    command = [sys.executable, "-m", "bagit", "--validate", str(bag.folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, "is valid" in done.stderr) == (0, True)


def test_sha256sum_alone_can_check_the_bag(bag: bags.Bag) -> None:
    for manifest in ("manifest-sha256.txt", TAG_MANIFEST):
        done = subprocess.run(
            ["sha256sum", "--strict", "-c", manifest], cwd=bag.folder, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0
        assert "FAILED" not in done.stdout


def test_a_bag_says_what_it_is_and_how_to_check_it(bag: bags.Bag) -> None:
    info = (bag.folder / "bag-info.txt").read_text()
    assert "External-Identifier: 调取-2026-0001\n" in info
    assert "Payload-Oxum: 6002.3\n" in info
    assert "sha256sum -c manifest-sha256.txt" in (bag.folder / "README.txt").read_text()
    assert (bag.files, bag.octets) == (3, 6002)


def test_the_same_content_gives_the_same_bag(bag: bags.Bag, tmp_path: Path, footage: Path) -> None:
    payload = {"empty.txt": b"", "forms/申请表.json": b"{}", "footage/gate.mkv": footage}
    again = write_bag(tmp_path / "again", payload, INFO)
    assert again.digest == bag.digest
    assert content_of(again.folder) == content_of(bag.folder)


def test_what_a_killed_attempt_left_is_replaced(tmp_path: Path, footage: Path) -> None:
    left = tmp_path / ".bag.building"
    left.mkdir()
    (left / "stray").write_text("half")
    bag = write_bag(tmp_path / "bag", {"footage/gate.mkv": footage}, INFO)
    assert not left.exists()
    assert "stray" not in content_of(bag.folder)


def test_writing_a_bag_leaves_the_footage_as_it_was(bag: bags.Bag, footage: Path) -> None:
    assert footage.stat().st_mode & 0o777 == 0o444
    assert hash_file(bag.folder / "data" / "footage" / "gate.mkv") == hash_file(footage)


def test_a_full_disk_leaves_no_bag(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        write_bag(tmp_path / "bag", {"footage/gate.mkv": tmp_path / "missing.mkv"}, INFO)
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/x", "a\nb", "100%25"])
def test_a_name_that_a_manifest_cannot_hold_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(BagError, match="cannot be a file of a bag"):
        write_bag(tmp_path / "bag", {path: b""}, INFO)


def test_an_incomplete_bag_is_none(tmp_path: Path, bag: bags.Bag) -> None:
    (bag.folder / TAG_MANIFEST).unlink()
    with pytest.raises(BagError, match="no complete bag"):
        read_bag(bag.folder)


def damage(folder: Path, kind: str) -> None:
    footage = folder / "data" / "footage" / "gate.mkv"
    if kind == "flipped":
        content = bytearray(footage.read_bytes())
        content[3000] ^= 1
        footage.unlink()
        footage.write_bytes(content)
    elif kind == "removed":
        footage.unlink()
    elif kind == "added":
        (folder / "data" / "stray.txt").write_text("x")
    elif kind == "info":
        path = folder / "bag-info.txt"
        path.write_text(path.read_text().replace("0001", "0002"))
    else:
        path = folder / "manifest-sha256.txt"
        path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")


@pytest.mark.parametrize("kind", ["flipped", "removed", "added", "info", "manifest"])
def test_any_damage_is_found(bag: bags.Bag, kind: str) -> None:
    validate(bag.folder)
    damage(bag.folder, kind)
    with pytest.raises(BagError, match="is not valid"):
        validate(bag.folder)
    assert verify_bag(bag.folder)


def test_a_bag_without_histories_is_not_taken_for_a_case(bag: bags.Bag) -> None:
    (problem,) = verify_bag(bag.folder)
    assert "data/history" in problem


def test_a_folder_that_is_no_bag_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    assert verify_bag(tmp_path / "nowhere")
    assert verify_bag(tmp_path)


# ---- on a store -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store", "primary")


def test_a_stored_bag_is_a_folder_that_validates(bag: bags.Bag, store: FolderStore) -> None:
    put_bag(bag, store, "archive/调取-2026-0001")
    put_bag(bag, store, "archive/调取-2026-0001")
    folder = store.path("archive/调取-2026-0001")
    validate(folder)
    assert content_of(folder) == content_of(bag.folder)


def test_a_copy_that_was_interrupted_is_completed(bag: bags.Bag, store: FolderStore) -> None:
    seen = 0

    def stop(count: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_bag(bag, store, "archive/x", stop)
    assert not store.exists(f"archive/x/{TAG_MANIFEST}")
    put_bag(bag, store, "archive/x")
    validate(store.path("archive/x"))


def test_another_bag_is_never_written_over(bag: bags.Bag, store: FolderStore, tmp_path: Path) -> None:
    put_bag(bag, store, "archive/x")
    other = write_bag(tmp_path / "other", {"empty.txt": b"other"}, INFO)
    with pytest.raises(AlreadyStoredError):
        put_bag(other, store, "archive/x")
    assert content_of(store.path("archive/x")) == content_of(bag.folder)


def test_a_bag_can_be_moved_and_is_still_valid(bag: bags.Bag, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "copy"
    shutil.copytree(bag.folder, elsewhere)
    before = Path.cwd()
    validate(elsewhere)
    assert Path.cwd() == before  # threads share it
