"""Histories of this and every earlier release still verify, on the diagrams that they ran on (issue of determinism)."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

import device.operators  # noqa: F401 - the procedure's own
from engine import definitions, history, operators, replay
from engine.history import StoredEvent
from engine.spiff import CompiledDefinition

HERE = Path(__file__).parent
FROZEN = sorted(HERE.glob("[0-9]*/*.json"))
COLUMNS = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")


def nobody(context: Any, *, n: Any = 0, question: Any = "") -> Any:
    raise AssertionError("re-execution asks nobody")


@pytest.fixture(autouse=True)
def _operators_of_the_constructs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For these tests only: other tests have operators of the same names."""
    monkeypatch.setattr(operators, "_REGISTRY", dict(operators._REGISTRY))
    for name, synchronous in (("test/fetch", False), ("test/ask", True)):
        operators._REGISTRY.pop(name, None)
        operators.operator(name, zh="试", en="Test", synchronous=synchronous)(nobody)


def load(path: Path) -> tuple[dict[str, Any], list[StoredEvent], dict[str, str]]:
    frozen = orjson.loads(path.read_bytes())
    events = [StoredEvent(row["seq"], *(row[column].encode() for column in COLUMNS)) for row in frozen["events"]]
    return frozen, events, read(frozen["files"])


def read(digests: dict[str, str]) -> dict[str, str]:
    texts = {}
    for name, digest in digests.items():
        file = HERE / "files" / (digest.removeprefix("sha256:")[:24] + Path(name).suffix)
        texts[name] = file.read_bytes().decode()
        assert definitions.text_digest(texts[name]) == digest, name
    return texts


def target_of(frozen: dict[str, Any]) -> Callable[[str], CompiledDefinition]:
    """The version to which a migration went, by its payload; its files are those of which the digest was recorded."""

    def target(payload: str) -> CompiledDefinition:
        named = orjson.loads(payload)["to"]
        texts = read(frozen["targets"][named["digest"]])
        assert definitions.digest_of(texts, frozen["file"]) == named["digest"]
        return definitions.compile_files(texts, named["id"])

    return target


def in_turn(targets: list[CompiledDefinition]) -> Callable[[str], CompiledDefinition]:
    going = iter(targets)
    return lambda _payload: next(going)


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_frozen_history_still_verifies(path: Path) -> None:
    frozen, events, texts = load(path)
    instance = UUID(frozen["instance"])
    head = events[-1].digest.decode()
    assert history.chain_findings(instance, events, seq=len(events), head=head) == []
    compiled = definitions.compile_files(texts, frozen["process"])
    finding, result = replay.repeat(compiled, instance, events, target_of(frozen))
    assert finding is None, f"{path.stem}: {finding}"
    assert result is not None
    assert result.state == frozen["state"]
    assert definitions.text_digest(orjson.dumps(result.data).decode()) == frozen["data"]


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_frozen_history_with_another_input_does_not(path: Path) -> None:
    frozen, events, texts = load(path)
    first = events[0]
    payload = orjson.loads(first.payload)
    payload["data"]["something"] = "else"
    events[0] = StoredEvent(
        first.seq,
        first.at,
        first.kind,
        first.actor,
        orjson.dumps(payload),
        *(first.lookups, first.derived, first.digest),
    )
    assert history.chain_findings(UUID(frozen["instance"]), events, seq=len(events), head=events[-1].digest.decode())
    compiled = definitions.compile_files(texts, frozen["process"])
    finding, _result = replay.repeat(compiled, UUID(frozen["instance"]), events, target_of(frozen))
    assert finding is not None


def test_a_frozen_migration_verifies_only_on_the_version_to_which_it_went() -> None:
    """Over, back while suspended, and over again: each time the other version leads elsewhere."""
    (path,) = [path for path in FROZEN if path.parent.name == "0.1.0" and path.stem.startswith("migrated_")]
    frozen, events, texts = load(path)
    compiled = definitions.compile_files(texts, frozen["process"])
    went = [event for event in events if event.kind == b"migrate"]
    digests = [orjson.loads(event.payload)["to"]["digest"] for event in went]
    assert digests == [digests[0], definitions.digest_of(texts, frozen["file"]), digests[0]]
    for place, event in enumerate(went):
        targets = [target_of(frozen)(each.payload.decode()) for each in went]
        targets[place] = targets[place - 1] if place else compiled
        finding, _result = replay.repeat(compiled, UUID(frozen["instance"]), events, in_turn(targets))
        assert finding is not None
        assert finding.seq > event.seq, "it is the next step that leads elsewhere"


def test_the_procedure_itself_is_frozen_with_the_digest_that_its_start_recorded() -> None:
    found = 0
    for path in FROZEN:
        frozen, events, texts = load(path)
        if frozen["process"] == "footage_retrieval":
            recorded = orjson.loads(events[0].payload)["process"]
            assert recorded["digest"] == definitions.digest_of(texts, frozen["file"])
            found += 1
    assert found


def test_this_release_has_frozen_histories_of_every_construct() -> None:
    frozen = {path.stem for path in FROZEN if path.parent.name == version("diaoqu")}
    constructs = {path.stem for path in HERE.parent.glob("*.bpmn") if "--" not in path.stem}
    assert constructs <= frozen, "python tests/conformance/histories/freeze.py constructs"
