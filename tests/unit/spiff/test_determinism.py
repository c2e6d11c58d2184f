"""Every construct, in random interleavings: live, saved and loaded, pruned and re-executed lead to the same."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from case import NAMESPACE, T0, Case

from engine.spiff import Execution, Input, RefusedInputError, compile_definition

TESTS = Path(__file__).parents[2]
DIAGRAMS = sorted(path for path in (TESTS / "conformance").glob("*.bpmn") if "--" not in path.stem)
EVENTS = [("message", "go"), ("message", "stop"), ("signal", "alarm")]
UNFINISHED = {"conditional_event"}
"""What may wait for ever: nothing but data makes its condition true."""


def files_of(path: Path) -> dict[str, str]:
    """A diagram, and what stands beside it: its decision table, the processes `<stem>--*.bpmn` that it calls."""
    needed = (path, *path.parent.glob(f"{path.stem}.dmn"), *path.parent.glob(f"{path.stem}--*.bpmn"))
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(needed)}


def anything(chance: random.Random) -> dict[str, Any]:
    return {
        "n": chance.randint(0, 2),
        "v": chance.randint(0, 1),
        "k": chance.randint(0, 4),
        "tag": [chance.randint(0, 9)],
        "o": {f"k{chance.randint(0, 3)}": [chance.randint(0, 3), True, 1, None, 0.5]},
    }


def interventions(case: Case, chance: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """What an operator might do, soundly or not."""
    if case.state == "suspended":
        return [("resume", {})]
    elements = sorted(case.live.definition.elements)
    active = sorted({*case.open().values(), *case.jobs().values()})
    moved = {"cancel": chance.sample(active, min(1, len(active))), "start": [chance.choice(elements)]}
    return [("suspend", {}), ("modify", moved), ("modify", {"set": anything(chance), "unset": ["tag"]})]


def interleave(path: Path, seed: int, *, operated: bool = False, migrated: bool = False) -> Case:
    """Give random inputs until the instance ends or nothing can happen any more.

    `migrated`: before each of them it goes over to another version, in which nothing is different.
    """
    chance = random.Random(f"{path.stem}/{seed}")
    files = files_of(path)
    text = files[path.name]
    triggers = [trigger.element for trigger in compile_definition(files, path.stem).triggers]
    by_hand = [] if "s" in triggers else [""]  # a diagram of the tests starts at s
    event = chance.choice(by_hand + triggers) if triggers else ""
    case = Case(files, process_id=path.stem, seed=f"{path.stem}/{seed}", event=event, payload={"p": [1]})
    last = None
    for _ in range(40):
        if case.state not in ("running", "suspended"):
            break
        if migrated and case.results[-1] is not last:  # what was refused may have let a timer become due
            case.migrate(files)
            last = case.results[-1]
        options: list[tuple[str, dict[str, Any]]] = interventions(case, chance) if operated else []
        for task_id in case.open():
            options += [("submit", {"task": str(task_id), "data": anything(chance)})] * 2
        for job in case.jobs():
            options += [("result", {"task": str(job), "value": [1]}), ("error", {"task": str(job), "code": "NVR"})]
        options += [(kind, {"name": name, "payload": {"p": [1]}}) for kind, name in EVENTS if f'"{name}"' in text]
        case.at += timedelta(seconds=chance.randint(1, 1500))
        if case.live.due_at is not None:
            case.at = max(case.at, case.live.due_at)
            options += [("timer", {})] * 2
        if chance.random() < 0.02:
            options.append(("cancel", {"reason": "test"}))
        if not options:
            break
        kind, payload = chance.choice(options)
        try:
            case.give(kind, **payload)
        except RefusedInputError:
            continue
    return case


@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: path.stem)
def test_every_construct_is_deterministic(path: Path) -> None:
    ends = [interleave(path, seed).state for seed in range(2)]
    assert path.stem in UNFINISHED or "running" not in ends


@pytest.mark.long
@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: path.stem)
def test_every_construct_is_deterministic_when_people_move_its_tokens(path: Path) -> None:
    for seed in range(200, 206):
        interleave(path, seed, operated=True)


@pytest.mark.long
@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: path.stem)
def test_every_construct_is_deterministic_in_many_orders(path: Path) -> None:
    ends = [interleave(path, seed).state for seed in range(100, 130)]
    assert path.stem in UNFINISHED or "running" not in ends


def course(case: Case) -> list[Any]:
    """What people saw of a case, in whatever order its branches moved within a step, and where it led."""
    seen = [f"{event['type']} {event['element']}" for result in case.results for event in result.visible]
    return [sorted(seen), case.state, case.data]


@pytest.mark.long
@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: path.stem)
def test_every_construct_goes_over_to_an_equal_version_at_any_time_as_though_nothing_had_happened(path: Path) -> None:
    for seed in range(400, 403):
        assert course(interleave(path, seed, migrated=True)) == course(interleave(path, seed))


@pytest.mark.long
def test_neither_hash_seed_nor_time_zone_of_the_machine_matters() -> None:
    program = (
        "import hashlib, test_determinism as t;"
        "print(hashlib.sha256(repr([t.interleave(p, 5).results for p in t.DIAGRAMS]).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "TZ": zone,
                "PYTHONPATH": f"{Path(__file__).parent}:{TESTS.parent}",
            },
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed, zone in (("1", "Asia/Shanghai"), ("2", "America/New_York"))
    }
    assert len(found) == 1


def test_instances_run_in_threads_of_their_own_as_they_do_alone() -> None:
    paths = [path for path in DIAGRAMS if path.stem.startswith(("multi", "parallel", "boundary"))][:8]
    alone = [interleave(path, 7).results for path in paths]
    with ThreadPoolExecutor(max_workers=8) as threads:
        together = list(threads.map(lambda path: interleave(path, 7).results, paths))
    assert together == alone


def test_one_definition_serves_many_threads() -> None:
    path = TESTS / "conformance" / "multi_instance_parallel.bpmn"
    definition = compile_definition({path.name: path.read_text(encoding="utf-8")}, path.stem)

    def run(_number: int) -> list[Any]:
        execution, found = Execution(definition, NAMESPACE), []
        result = execution.apply(Input(1, T0, "start", '{"data": {}}'))
        waiting = [task.id for task in result.opened]
        while result.state == "running":
            found.append(result)
            payload = f'{{"task": "{waiting.pop()}", "data": {{"v": 1}}}}'
            result = execution.apply(Input(execution.seq + 1, T0, "submit", payload))
            waiting += [task.id for task in result.opened]
        return [*found, result]

    with ThreadPoolExecutor(max_workers=8) as threads:
        first, *others = threads.map(run, range(16))
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("footage13", {"fill": {"camera": "cam-07"}, "approve": {"approved": True}, "receipt": {"received": True}}),
        ("scripts6", {}),
    ],
)
def test_the_benchmark_diagrams_run(name: str, forms: dict[str, dict[str, Any]]) -> None:
    path = TESTS / "bench" / f"{name}.bpmn"
    case = Case({path.name: path.read_text(encoding="utf-8")}, process_id=name)
    for element, data in forms.items():
        case.do(element, **data)
    assert case.state == "completed"
    expected = {"footage13": ("path", "CAM-07-30"), "scripts6": ("total", 135)}[name]
    assert case.data[expected[0]] == expected[1]
