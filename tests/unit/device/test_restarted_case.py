"""A case that was begun again at a step is archived as what the new instance did, with the history of both."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from procedure import House

from device.bags import verify_bag
from device.storage import hash_bytes, hash_file
from engine import history, instances, modification, tasks


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.open(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def original(house: House) -> UUID:
    """A case whose record was completed and signed, and that was cancelled before it was archived."""
    instance = house.request("gate", to="register_shelf")
    with house.database.transaction() as session:
        instances.cancel(session, instance, "the footage is to be retrieved again", by="admin")
    return instance


@pytest.fixture(scope="module")
def restarted(house: House, original: UUID) -> UUID:
    """It was begun again where the operator says that everything is ready, and led to its end."""
    with house.database.transaction() as session:
        reason = "retrieved again"
        copy = modification.restart(session, original, "confirm_readiness", reason, by="admin").id
    house.lead(copy)
    return copy


@pytest.fixture(scope="module")
def bag(house: House, restarted: UUID) -> Path:
    return Path(house.instance(restarted).data["archive"]["path"])


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_a_restarted_case_is_archived_in_a_valid_bag(house: House, restarted: UUID, bag: Path) -> None:
    assert house.instance(restarted).state == "completed"
    command = [sys.executable, "-m", "bagit", "--validate", str(bag)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
    assert verify_bag(bag) == []


def test_its_bag_holds_the_new_history_and_that_of_the_original_before_it(
    house: House, original: UUID, restarted: UUID, bag: Path
) -> None:
    heads = orjson.loads((bag / "data" / "history" / "heads.json").read_bytes())
    new, old = (lines(bag / "data" / "history" / f"{name}.jsonl") for name in ("process", "original-1"))
    with house.database.reading() as session:
        stored = [event.digest for event in history.events(session, restarted)]
        stored_before = [event.digest for event in history.events(session, original)]
    assert [event["digest"] for event in new] == stored[: len(new)]
    assert [event["digest"] for event in old] == stored_before
    assert [event["kind"] for event in old[-2:]] == ["cancel", "restarted"]
    begun = orjson.loads(new[0]["payload"])
    assert (begun["at"], begun["restart"]["instance"]) == ("confirm_readiness", str(original))
    assert heads["instance"] == str(restarted)
    assert heads["originals"] == [
        {
            "instance": str(original),
            "process": old[-1]["digest"],
            "process_seq": len(old),
            "until": begun["restart"]["seq"],
        }
    ]
    assert f"Restarted-From: {original} {begun['restart']['seq']}" in (bag / "bag-info.txt").read_text()


def test_its_bag_holds_what_the_new_instance_retrieved_and_what_was_signed_on_the_way_to_it(
    house: House, restarted: UUID, bag: Path
) -> None:
    masters = house.items(restarted, "master")
    assert len(masters) == 2, "both retrievals belong to the case"
    (kept,) = (bag / "data" / "footage").iterdir()
    assert kept.name == Path(masters[1].path).name
    assert hash_file(kept) == masters[1].digest
    signed = orjson.loads((bag / "data" / "forms" / "signatures.json").read_bytes())
    assert [one["element"] for one in signed] == ["sign_application", "complete_record", "countersign_record"]
    with house.database.reading() as session:
        own = {str(task.id) for task in tasks.of_instance(session, restarted)}
    assert [one["task"] in own for one in signed] == [False, True, True]
    assert {hash_bytes(one["text"].encode()) for one in signed} == {one["digest"] for one in signed}


def test_a_bag_with_another_original_is_found_out(bag: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(bag, forged)
    path = forged / "data" / "history" / "original-1.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"applicant", b"somebody!", 1))
    for manifest, name in (("manifest-sha256.txt", path), ("tagmanifest-sha256.txt", forged / "manifest-sha256.txt")):
        listed = forged / manifest
        listed.chmod(0o644)
        within = name.relative_to(forged).as_posix()
        rows = [row for row in listed.read_text().splitlines() if not row.endswith(f"  {within}")]
        rows.append(f"{hash_file(name).removeprefix('sha256:')}  {within}")
        listed.write_text("\n".join(rows) + "\n")
    (problem,) = verify_bag(forged)
    assert "original-1.jsonl: event 1 does not follow" in problem
