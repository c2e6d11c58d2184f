"""Freezes histories of this release, so that every later one must still verify them.

    python tests/conformance/histories/freeze.py constructs
    python tests/conformance/histories/freeze.py instances DATABASE_URL [NAME=INSTANCE ...]

The first gives every diagram of tests/conformance/ that has none a random but repeatable run of inputs; the second
takes instances out of a database, one of `diaoqu demo` for example. What is frozen is never written again.
"""

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import orjson

HERE = Path(__file__).parent
RELEASE = version("diaoqu")
sys.path.insert(0, str(HERE.parents[1] / "unit" / "spiff"))

from engine import definitions, history, live  # noqa: E402
from engine.db import Database  # noqa: E402
from engine.history import StoredEvent, chain_digest, stored_instant  # noqa: E402

COLUMNS = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")


def write(
    name: str, process: str, file: str, texts: Mapping[str, str], instance: UUID, events: Iterable[StoredEvent]
) -> None:
    """One JSON file a history; the deployed files beside it, each once, named by its digest."""
    digests = {each: definitions.text_digest(text) for each, text in sorted(texts.items())}
    for each, text in texts.items():
        place = path_of(each, digests[each])
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="")
    rows = [{"seq": event.seq, **{one: getattr(event, one).decode() for one in COLUMNS}} for event in events]
    last = orjson.loads(rows[-1]["derived"])
    frozen = {
        "release": RELEASE,
        "process": process,
        "file": file,
        "instance": str(instance),
        "state": last["state"],
        "data": last["data"],
        "files": digests,
        "events": rows,
    }
    target = HERE / RELEASE / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(orjson.dumps(frozen, option=orjson.OPT_INDENT_2) + b"\n")
    print(f"{target.relative_to(HERE)}: {len(rows)} events, {last['state']}")


def path_of(name: str, digest: str) -> Path:
    return HERE / "files" / (digest.removeprefix("sha256:")[:24] + Path(name).suffix)


OPERATED = ("boundary_timer_cycle", "multi_instance_parallel", "parallel_subprocess_in_loop", "event_based_gateway")
"""Diagrams of which a run is frozen too in which people suspend the instance, move its tokens and correct its data."""


def constructs() -> None:
    from test_determinism import DIAGRAMS, files_of, interleave

    runs = [(path.stem, path, False) for path in DIAGRAMS]
    runs += [(f"operated_{path.stem}", path, True) for path in DIAGRAMS if path.stem in OPERATED]
    for name, path, operated in runs:
        if (HERE / RELEASE / f"{name}.json").exists():
            continue
        seeds = range(300, 330) if operated else range(3)
        cases = (interleave(path, seed, operated=operated) for seed in seeds)
        case = max(cases, key=lambda case: sum(given.kind == "modify" or not operated for given in case.inputs))
        events, previous = [], history.GENESIS
        for given, result in zip(case.inputs, case.results, strict=True):
            texts = (stored_instant(given.at), given.kind, "somebody", given.payload)
            texts = (*texts, orjson.dumps(result.lookups).decode(), live.derived(result))
            parts = [text.encode() for text in texts]
            previous = chain_digest(case.live.key, given.seq, parts, previous)
            events.append(StoredEvent(given.seq, *parts, previous.encode()))
        write(name, path.stem, path.name, files_of(path), case.live.key, events)


def instances(database_url: str, wanted: Iterable[str]) -> None:
    database = Database(database_url)
    with database.reading() as session:
        from engine import instances as stored

        for each in wanted:
            name, _, identifier = each.partition("=")
            instance = stored.get(session, identifier)
            definition = definitions.by_id(session, instance.definition_id)
            events = history.stored_events(session, instance.id)
            texts = definitions.files(session, definition.id)
            write(name, definition.process_id, definition.file, texts, instance.id, events)
    database.dispose()


if __name__ == "__main__":
    if sys.argv[1:] == ["constructs"]:
        constructs()
    elif sys.argv[1:2] == ["instances"] and len(sys.argv) > 3:
        instances(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(__doc__)
