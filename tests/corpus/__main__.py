"""`make corpus DIR=…`: runs a folder of other people's diagrams here and in the bare library, and compares.

Per file: refused with its reasons, or accepted and what came of it. With ADAPT=1 what is refused is made executable,
the same for both sides, and tried again. Exit status 1 when an accepted diagram ends otherwise than in the bare
library, or when anything crashes here.
"""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import device.operators  # noqa: F401 - what a service task may call
from engine.errors import DefinitionError, Problem
from engine.lint import lint
from engine.spiff import CompiledDefinition, Execution, Input, RefusedInputError, compile_definition
from tests.corpus.adapting import adapted, beyond_the_bare_library
from tests.corpus.driving import Answers, drive
from tests.corpus.folder import Diagram, diagrams

HERE = Path(__file__).parent
SEEDS = 3
ACTIVE = 8 | 16 | 32
"""The states of a snapshot in which a token stands somewhere: waiting, ready, started."""

BROKEN = ("different", "crashed")
NOTHING = object()


class BareLibrary:
    """bare.py, started again when a diagram has killed it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, files: Mapping[str, str], process: str, seed: int) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, str(HERE / "bare.py")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"files": files, "process": process, "seed": seed}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        return dict(json.loads(line)) if line else {"end": "failed", "why": "the bare library has died"}

    def close(self) -> None:
        if self._process is not None:
            with self._process as process:
                process.kill()


class Here:
    """One instance in the engine's kernel."""

    def __init__(self, definition: CompiledDefinition, data: Mapping[str, Any]) -> None:
        self.execution = Execution(definition, uuid5(UUID(int=0), definition.process_id))
        self.at = datetime(2026, 1, 5, 1, tzinfo=UTC)
        self.open: dict[UUID, str] = {}
        self.why = ""
        self._apply("start", data=dict(data))

    def _apply(self, kind: str, **payload: Any) -> None:
        self.at += timedelta(seconds=1)  # two inputs of one instant have no order at a join
        given = Input(self.execution.seq + 1, self.at, kind, json.dumps(payload))
        result = self.execution.apply(given)
        self.open |= {task.id: task.element for task in result.opened}
        for task_id, _how in result.closed:
            del self.open[task_id]
        for _task, element, message in result.incidents:
            self.why = self.why or f"{element}: {message}"

    def options(self) -> list[str]:
        if self.execution.state != "running" or self.why:
            return []
        found = {f"task {element}" for element in self.open.values()}
        found |= {f"{waited.kind} {waited.name}" for waited in self.execution.listening}
        return [*found, "timer"] if self.execution.due_at is not None else list(found)

    def give(self, option: str, data: Mapping[str, Any]) -> None:
        kind, _, name = option.partition(" ")
        if kind == "task":
            task = next(task_id for task_id, element in self.open.items() if element == name)
            self._apply("submit", task=str(task), data=dict(data))
        elif kind == "timer":
            self.at = max(self.at, self.execution.due_at or self.at) + timedelta(milliseconds=1)
            self._apply("timer")
        else:
            self._apply(kind, name=name, payload=dict(data))

    def outcome(self) -> dict[str, Any]:
        if self.why:
            return {"end": "failed", "why": self.why}
        if self.execution.state == "running":
            return {"end": "running", "left": self._left_at_joins()}
        return {"end": self.execution.state, "data": self.execution.data}

    def _left_at_joins(self) -> list[str]:
        """The parallel joins where tokens wait, when nothing else is under way in the process itself."""
        elements = self.execution.definition.elements
        top = json.loads(self.execution.snapshot())["flows"][0]
        names = {name for _id, _parent, _children, state, name, *_ in top[-1] if state & ACTIVE and name in elements}
        alone = all(elements[name].type == "parallelGateway" for name in names)
        return sorted(names) if alone else []


def here(definition: CompiledDefinition, answers: Answers) -> dict[str, Any]:
    try:
        return drive(Here(definition, answers.start()), answers)
    except RefusedInputError as error:
        return {"end": "failed", "why": str(error)}
    except Exception as error:  # noqa: BLE001 - what this program looks for
        return {"end": "crashed", "why": f"{type(error).__name__}: {error}"[:300]}


def judge(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, str]:
    """What a pair of runs says, and in which words."""
    if ours["end"] == "crashed":
        return "crashed", str(ours["why"])
    if theirs["end"] == "failed":
        return ("fails alike" if ours["end"] == "failed" else "runs here only"), str(theirs["why"])
    if theirs["end"] == "completed" and ours.get("left"):
        return "left waiting", f"here a token waits for others at {', '.join(ours['left'])}; there it is dropped"
    if ours["end"] != theirs["end"]:
        return "different", f"here {ours['end']} ({ours.get('why', '')}), there {theirs['end']}"
    if ours["end"] not in ("completed", "cancelled"):
        return f"{ours['end']} alike", ""
    if ours["data"] == theirs["data"]:
        return "same", ""
    told = _difference(ours, theirs)
    return ("lost there", told) if _is_lost_there(ours, theirs) else ("different", told)


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    here, there = ours["data"], theirs["data"]
    return sorted(key for key in {*here, *there} if here.get(key, NOTHING) != there.get(key, NOTHING))


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    here, there = ours["data"], theirs["data"]
    told = (f"{key}: here {here.get(key, '-')!r}, there {there.get(key, '-')!r}" for key in _differing(ours, theirs))
    return "; ".join(told)[:300]


def _is_lost_there(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether the bare library, where branches join, went back to an older value than the last that was entered."""
    given = ours["given"]
    return all(
        ours["data"].get(key, NOTHING) == given.get(key, [None])[-1] and theirs["data"].get(key) in given[key]
        for key in _differing(ours, theirs)
    )


RANK = (
    *BROKEN,
    "left waiting",
    "lost there",
    "runs here only",
    "fails alike",
    "endless alike",
    "running alike",
    "same",
)
"""Of several runs of one diagram the first of these counts."""


def examine(diagram: Diagram, bare: BareLibrary) -> tuple[str, list[Problem] | list[str]]:
    """`("refused", problems)`, or what came of it and why."""
    try:
        problems = [problem for problem in lint(diagram.files) if problem.severity == "error"]
        if problems:
            return "refused", problems
        texts = {name: text if isinstance(text, str) else text.decode() for name, text in diagram.files.items()}
        texts = {name: text for name, text in texts.items() if name.endswith((".bpmn", ".dmn"))}
        definition = compile_definition(texts, diagram.process)
    except DefinitionError as error:
        return "refused", error.problems
    except Exception as error:  # noqa: BLE001 - what this program looks for
        return "crashed", [f"{type(error).__name__}: {error}"[:300]]
    starts = [found for found in definition.elements.values() if found.type == "startEvent"]
    if sum(start.scope == diagram.process for start in starts) == len(definition.triggers):
        return "starts by an event only", []
    ignored = beyond_the_bare_library(diagram)
    found = []
    for seed in range(SEEDS):
        ours = json.loads(json.dumps(here(definition, Answers(texts, seed))))
        found.append(judge(ours, bare.ask(texts, diagram.process, seed)))
        if found[-1][0] == "different" and ignored:
            found[-1] = "runs here only", f"the bare library ignores {', '.join(ignored)}"
    verdict, why = min(found, key=lambda pair: RANK.index(pair[0]))
    return verdict, [why] if why else []


def main(folder: Path, *, adapt: bool) -> int:
    totals: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    with contextlib.closing(BareLibrary()) as bare:
        for diagram in diagrams(folder):
            verdict, reasons = examine(diagram, bare)
            if adapt and verdict == "refused" and diagram.process:
                verdict, reasons = examine(adapted(diagram), bare)
                verdict = f"adapted: {verdict}"
            totals[verdict] += 1
            rules.update({problem.rule for problem in reasons if isinstance(problem, Problem)})
            print(f"{diagram.path.relative_to(folder)}: {verdict}")
            for reason in reasons:
                print(f"    {reason}")
    print()
    for verdict, count in totals.most_common():
        print(f"{count:6} {verdict}")
    print("Files refused by each rule:", ", ".join(f"{rule} {count}" for rule, count in rules.most_common()) or "none")
    return 1 if any(verdict.endswith(BROKEN) for verdict in totals) or not totals else 0


if __name__ == "__main__":
    where = [Path(given) for given in sys.argv[1:] if given != "--adapt"]
    if len(where) != 1 or not where[0].is_dir():
        print("make corpus DIR=<a folder of diagrams> [ADAPT=1]", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(where[0], adapt="--adapt" in sys.argv))
