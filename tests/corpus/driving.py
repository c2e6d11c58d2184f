"""What both sides of a comparison are told: the same answers in the same order. Knows neither engine nor library."""

import ast
import contextlib
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any, Protocol

STEPS = 150
"""Inputs after which a process counts as endless."""

_EXPRESSIONS = frozenset({
    "conditionExpression", "condition", "script", "completionCondition", "loopCondition", "loopCardinality", "text",
    "preScript", "postScript", "messagePayload", "payloadExpression", "messagePath", "dataPath",
})  # fmt: skip
_CONDITIONS = ("conditionExpression", "condition", "completionCondition", "loopCondition")


class Side(Protocol):
    """A running process. `options` are what it waits for: `task ELEMENT`, `message NAME`, `signal NAME`, `timer`."""

    def options(self) -> list[str]: ...

    def give(self, option: str, data: Mapping[str, Any]) -> None: ...

    def outcome(self) -> dict[str, Any]:
        """`{"end": "completed" | "cancelled" | "running", "data": …}`."""


class Answers:
    """Values for the variables that the expressions of a diagram read: literals that stand beside them, or near ones.

    What a script assigns without reading it comes from the script.
    """

    def __init__(self, files: Mapping[str, str], seed: int) -> None:
        self.seed = seed
        self._decisive: set[str] = set()
        self._beside: dict[str, list[Any]] = {}
        self._lists: set[str] = set()
        self._assigned: set[str] = set()
        self._tasks: set[str] = set()
        self._flows: dict[str, set[str]] = {}
        self._asked: dict[str, set[str]] = {}
        for text in files.values():
            self._study(text)

    def _study(self, text: str) -> None:
        for node in ET.fromstring(text).iter():  # of a file that the lint has accepted
            name, inside = node.tag.rpartition("}")[2], (node.text or "").strip()
            if name == "dataObject":
                self._assigned.add(node.get("id", ""))
            if name == "loopDataInputRef" and re.fullmatch(r"[A-Za-z_]\w*", inside):
                self._lists.add(inside)
            if name.lower().endswith(("task", "activity", "process")):
                self._tasks.add(node.get("id", ""))
            if name == "sequenceFlow":
                source = node.get("sourceRef", "")
                self._flows.setdefault(source, set()).add(node.get("targetRef", ""))
                for condition in node.findall("{*}conditionExpression"):
                    with contextlib.suppress(SyntaxError, ValueError):
                        names = {
                            part.id for part in ast.walk(ast.parse(condition.text or "")) if isinstance(part, ast.Name)
                        }
                        self._asked.setdefault(source, set()).update(names)
            if name in _EXPRESSIONS:
                with contextlib.suppress(SyntaxError, ValueError):
                    self._read(ast.parse(inside), decides=name in _CONDITIONS)

    def _read(self, tree: ast.AST, *, decides: bool) -> None:
        parts = list(ast.walk(tree))
        called = {part.func.id for part in parts if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)}
        names = [part for part in parts if isinstance(part, ast.Name) and part.id not in called]
        read: set[str] = set()
        for statement in getattr(tree, "body", []):
            inside = [part for part in ast.walk(statement) if part in names]
            read |= {part.id for part in inside if isinstance(part.ctx, ast.Load)} - self._assigned
            self._assigned |= {part.id for part in inside if isinstance(part.ctx, ast.Store)} - read
        literals = [part.value for part in parts if isinstance(part, ast.Constant)]
        for name in sorted(read):
            self._beside.setdefault(name, []).extend(literals)
        self._decisive |= read if decides else set()

    def _values(self, name: str) -> list[Any]:
        if name in self._lists:
            return [[1, 2], [3]]
        beside = self._beside.get(name, [])
        texts = [value for value in beside if isinstance(value, str)]
        numbers = [value for value in beside if isinstance(value, int | float) and not isinstance(value, bool)]
        if texts:
            return sorted({*texts, "other"})
        if numbers:
            return sorted({near for value in numbers for near in (value - 1, value, value + 1)})
        return [False, True] if name in self._decisive else [1, 2]

    def _some(self, names: set[str], where: str) -> dict[str, Any]:
        chance = random.Random(f"{self.seed} {where}")
        return {name: chance.choice(self._values(name)) for name in sorted(names - self._assigned)}

    def start(self) -> dict[str, Any]:
        return self._some(self._beside.keys() | self._lists, "start")

    def answer(self, option: str, number: int) -> dict[str, Any]:
        """What the decisions read that come next after a task; branches do not write into one another's variables."""
        kind, _, element = option.partition(" ")
        names: set[str] = set()
        pending, seen = [element], set()
        while pending:
            place = pending.pop()
            if place not in seen:
                seen.add(place)
                names |= self._asked.get(place, set())
                pending += [] if place in self._tasks and place != element else self._flows.get(place, ())
        names = names & self._decisive if kind == "task" else set()
        return self._some(names, f"{option} {number}")


def drive(side: Side, answers: Answers) -> dict[str, Any]:
    """Give inputs until the process ends, waits for nothing that can be given, or goes on for ever.

    The outcome, and under `given` what was entered for each variable, the last value last.
    """
    chance = random.Random(answers.seed)
    given = {name: [value] for name, value in answers.start().items()}
    for number in range(STEPS):
        options = sorted(side.options())
        tasks = [option for option in options if option.startswith("task ")]
        if not options:
            return {**side.outcome(), "given": given}
        option = chance.choice(tasks if tasks and not answers.seed else options)
        data = answers.answer(option, number)
        side.give(option, data)
        for name, value in data.items():
            given.setdefault(name, []).append(value)
    return {"end": "endless"}
