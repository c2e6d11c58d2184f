"""The data of tokens: JSON only, never shared between tasks, merged at joins by what each branch has changed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from SpiffWorkflow.task import Task

from engine.errors import N_, ExpressionError

MAX_DEPTH = 40
MAX_INTEGER = 2**53


def copy_json(value: Any) -> Any:
    """A deep copy of JSON data, several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: copy_json(item) if isinstance(item, _CONTAINERS) else item for key, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) if isinstance(item, _CONTAINERS) else item for item in value]
    return value


_CONTAINERS = (dict, list)


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """A copy of `value` that survives JSON unchanged; tuples become lists.

    Raises:
        ExpressionError: JSON cannot carry it, or not everywhere in the same way.
    """
    if depth > MAX_DEPTH:
        raise ExpressionError(N_("%(where)s is nested too deeply."), where=where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ExpressionError(N_("%(where)s holds a character that cannot be stored."), where=where)
        return str(value)
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ExpressionError(N_("%(where)s holds a number that is too large."), where=where)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(N_("%(where)s holds something that is not a number."), where=where)
        return float(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ExpressionError(N_("%(where)s holds a key that is not a text."), where=where)
        return {plain(key, where): plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
    raise ExpressionError(N_("%(where)s is %(kind)s, which cannot be stored."), where=where, kind=type(value).__name__)


def merge_branches(base: Mapping[str, Any], branches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What parallel branches changed since they forked from `base`, in the order given.

    The library merges whole copies, so a branch that finishes last writes the *old* value of every variable that
    another branch has changed. Dictionaries merge key by key; lists that were only appended to are concatenated.
    """
    merged: dict[str, Any] = copy_json(dict(base))
    for branch in branches:
        for key in [key for key in base if key not in branch]:
            merged.pop(key, None)
        for key, value in branch.items():
            if key in base and same(base[key], value):
                continue
            merged[key] = _merge_value(base.get(key), merged.get(key), value)
    return merged


def _merge_value(before: Any, now: Any, value: Any) -> Any:
    if isinstance(value, dict) and isinstance(now, dict):
        return merge_branches(before if isinstance(before, dict) else {}, [now, value])
    if isinstance(value, list) and isinstance(now, list) and not same(now, value):
        start = before if isinstance(before, list) else []
        if same(now[: len(start)], start) and same(value[: len(start)], start):
            return now + copy_json(value[len(start) :])
    return copy_json(value)


def same(left: Any, right: Any) -> bool:
    """Equality of JSON: `True` is not `1`, unlike Python's."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(item, right[key]) for key, item in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return bool(left == right)


def merge_tokens(tokens: Sequence[Task]) -> dict[str, Any]:
    """The data of a token that replaces several, each of which came from its parent task."""
    parents = [token.parent for token in tokens]
    fork = common_ancestor(parents)
    return merge_branches(fork.data if fork is not None else {}, [parent.data for parent in parents])


def common_ancestor(tasks: Sequence[Task]) -> Task | None:
    """The nearest task from which all descend: the fork whose data the branches started from."""
    line: list[Task] = []
    task: Task | None = tasks[0] if tasks else None
    while task is not None:
        line.append(task)
        task = task.parent
    meets = {task.id: place for place, task in enumerate(line)}  # where a task's own line meets this one
    nearest = 0
    for task in tasks[1:]:
        walked = []
        while task is not None and task.id not in meets:
            walked.append(task.id)
            task = task.parent
        place = len(line) if task is None else meets[task.id]
        meets.update(dict.fromkeys(walked, place))
        nearest = max(nearest, place)
    return line[nearest] if nearest < len(line) else None
