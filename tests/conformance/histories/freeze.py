"""Freezes histories of this release, so that every later one must still verify them.

    python tests/conformance/histories/freeze.py constructs
    python tests/conformance/histories/freeze.py instances DATABASE_URL [NAME=INSTANCE ...]

The first gives every diagram of tests/conformance/ that has none a random but repeatable run of inputs, and lets an
instance go over to a revised diagram, back and over again; the second takes instances out of a database, one of
`diaoqu demo` for example. What is frozen is never written again.
"""

import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

HERE = Path(__file__).parent
RELEASE = version("diaoqu")
sys.path.insert(0, str(HERE.parents[1] / "unit" / "spiff"))

from engine import definitions, history, live, versions  # noqa: E402
from engine.db import Database  # noqa: E402
from engine.history import StoredEvent, chain_digest, stored_instant  # noqa: E402

if TYPE_CHECKING:
    from case import Case

COLUMNS = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")


def write(
    name: str,
    process: str,
    file: str,
    texts: Mapping[str, str],
    instance: UUID,
    events: Iterable[StoredEvent],
    targets: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """One JSON file a history; the deployed files beside it, each once, named by its digest.

    `targets` are the files of the versions to which the instance went, by the digest that its history names.
    """
    rows = [{"seq": event.seq, **{one: getattr(event, one).decode() for one in COLUMNS}} for event in events]
    last = orjson.loads(rows[-1]["derived"])
    frozen = {
        "release": RELEASE,
        "process": process,
        "file": file,
        "instance": str(instance),
        "state": last["state"],
        "data": last["data"],
        "files": keep(texts),
        "events": rows,
    }
    if targets:
        frozen["targets"] = {digest: keep(each) for digest, each in targets.items()}
    target = HERE / RELEASE / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(orjson.dumps(frozen, option=orjson.OPT_INDENT_2) + b"\n")
    print(f"{target.relative_to(HERE)}: {len(rows)} events, {last['state']}")


def keep(texts: Mapping[str, str]) -> dict[str, str]:
    """Puts files beside the histories; their digests."""
    digests = {each: definitions.text_digest(text) for each, text in sorted(texts.items())}
    for each, text in texts.items():
        place = path_of(each, digests[each])
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="")
    return digests


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
        write(name, path.stem, path.name, files_of(path), case.live.key, stored(case))
    if not (HERE / RELEASE / "migrated_revised_process.json").exists():
        migrated(HERE.parent / "revised_process.bpmn", HERE.parent / "revised" / "revised_process.bpmn")


def stored(case: "Case") -> list[StoredEvent]:
    """What the history of an instance would hold."""
    events, previous = [], history.GENESIS
    for given, result in zip(case.inputs, case.results, strict=True):
        texts = (stored_instant(given.at), given.kind, "somebody", given.payload)
        texts = (*texts, orjson.dumps(result.lookups).decode(), live.derived(result))
        parts = [text.encode() for text in texts]
        previous = chain_digest(case.live.key, given.seq, parts, previous)
        events.append(StoredEvent(given.seq, *parts, previous.encode()))
    return events


def migrated(first: Path, revised: Path) -> None:
    """An instance that goes over while tasks and jobs are open, back while it is suspended, and over again."""
    from case import Case

    name = first.stem
    old, new = ({first.name: path.read_text(encoding="utf-8")} for path in (first, revised))
    named = [
        {"id": name, "version": number, "digest": definitions.digest_of(texts, first.name)}
        for number, texts in enumerate((old, new), 1)
    ]
    case = Case(old, process_id=name, seed=f"migrated/{name}")

    def go(to: int) -> None:
        case.at += timedelta(minutes=7)
        case.migrate((old, new)[to], **{"from": named[1 - to], "to": named[to]})

    def do(element: str, **data: Any) -> None:
        case.at += timedelta(minutes=11)
        case.do(element, **data)

    go(1)
    case.finish("fetch", [1, 0.5, None])
    do("b", n=1)
    do("check")
    case.give("suspend")
    go(0)
    case.give("resume")
    do("d", n=2)
    go(1)
    do("c")
    do("extra")
    targets = {each["digest"]: texts for each, texts in zip(named, (old, new), strict=True)}
    write(f"migrated_{name}", name, first.name, old, case.live.key, stored(case), targets)


def instances(database_url: str, wanted: Iterable[str]) -> None:
    database = Database(database_url)
    with database.reading() as session:
        from engine import instances as stored_instances

        for each in wanted:
            name, _, identifier = each.partition("=")
            instance = stored_instances.get(session, identifier)
            definition = definitions.by_id(session, instance.definition_id)
            events = history.stored_events(session, instance.id)
            began = orjson.loads(events[0].payload)["process"]
            went = [orjson.loads(event.payload)["to"] for event in events if event.kind == b"migrate"]
            files = {
                each["digest"]: definitions.files(session, versions.resolve(session, each).id)
                for each in (began, *went)
            }
            texts, targets = files[began["digest"]], {each["digest"]: files[each["digest"]] for each in went}
            write(name, definition.process_id, definition.file, texts, instance.id, events, targets)
    database.dispose()


if __name__ == "__main__":
    if sys.argv[1:] == ["constructs"]:
        constructs()
    elif sys.argv[1:2] == ["instances"] and len(sys.argv) > 3:
        instances(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(__doc__)
