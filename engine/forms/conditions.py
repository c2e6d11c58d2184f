"""The FEEL subset of `conditional.hide`: `=key = "text"`, `!=`, joined by `and` or `or` (`and` binds tighter)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 500

_TOKEN = re.compile(
    r"""\s*(?:(?P<literal>"[^"\\]*"|true\b|false\b|null\b|-?\d+(?:\.\d+)?)|(?P<word>[^\W\d]\w*)|(?P<operator>!=|=))"""
)


@dataclass(frozen=True)
class Comparison:
    """`key = literal`, or `key != literal` when not `equal`. `literal` is in the form that `plain` gives."""

    key: str
    equal: bool
    literal: str

    def holds(self, data: Mapping[str, Any]) -> bool:
        value = data.get(self.key)
        # A checklist equals no single text; comparing its printed form would be an accident.
        same = not isinstance(value, list | dict) and plain(value) == self.literal
        return same is self.equal


@dataclass(frozen=True)
class Condition:
    """True when all comparisons of any one alternative hold."""

    alternatives: tuple[tuple[Comparison, ...], ...]

    def holds(self, data: Mapping[str, Any]) -> bool:
        return any(all(comparison.holds(data) for comparison in group) for group in self.alternatives)

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(comparison.key for group in self.alternatives for comparison in group)

    def to_json(self) -> list[list[list[Any]]]:
        """For the page's own script: alternatives of [key, equal, literal]."""
        return [[[part.key, part.equal, part.literal] for part in group] for group in self.alternatives]


def plain(value: Any) -> str:
    """How a value compares: as text, with nothing chosen, null and unticked told apart from no text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def parse_condition(text: str) -> Condition | None:
    """The condition, or None when `text` is outside the subset."""
    if not text.startswith("=") or len(text) > MAX_LENGTH:
        return None
    tokens = _tokens(text[1:])
    if tokens is None or len(tokens) % 4 != 3:
        return None
    groups: list[list[Comparison]] = [[]]
    for start in range(0, len(tokens), 4):
        (kind, key), (sign_kind, sign), (literal_kind, literal) = tokens[start : start + 3]
        if (kind, sign_kind, literal_kind) != ("word", "operator", "literal"):
            return None
        value = literal[1:-1] if literal.startswith('"') else "" if literal == "null" else literal
        groups[-1].append(Comparison(key, sign == "=", value))
        if start + 3 < len(tokens):
            joint = tokens[start + 3]
            if joint == ("word", "or"):
                groups.append([])
            elif joint != ("word", "and"):
                return None
    return Condition(tuple(tuple(group) for group in groups))


def _tokens(text: str) -> list[tuple[str, str]] | None:
    found: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            return None
        found.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return found
