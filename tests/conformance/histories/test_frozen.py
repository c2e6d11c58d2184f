"""Histories of this and every earlier release still verify, on the diagrams that they ran on (issue of determinism)."""

from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

import device.operators  # noqa: F401 - the procedure's own
from engine import definitions, history, operators, replay
from engine.history import StoredEvent

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
    texts = {}
    for name, digest in frozen["files"].items():
        file = HERE / "files" / (digest.removeprefix("sha256:")[:24] + Path(name).suffix)
        texts[name] = file.read_bytes().decode()
        assert definitions.text_digest(texts[name]) == digest, name
    return frozen, events, texts


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_frozen_history_still_verifies(path: Path) -> None:
    frozen, events, texts = load(path)
    instance = UUID(frozen["instance"])
    head = events[-1].digest.decode()
    assert history.chain_findings(instance, events, seq=len(events), head=head) == []
    finding, result = replay.repeat(definitions.compile_files(texts, frozen["process"]), instance, events)
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
    finding, _result = replay.repeat(compiled, UUID(frozen["instance"]), events)
    assert finding is not None


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
