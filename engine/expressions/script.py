"""Runs a checked script: assignments, if and for, on copies of the variables."""

import ast
from collections.abc import Mapping
from typing import Any

from engine.errors import N_
from engine.expressions import functions
from engine.expressions.syntax import Parsed
from engine.expressions.values import Refusal, same, text_key
from engine.expressions.walker import MISSING, Positions, Walker


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Script(Walker):
    """Runs one script once, on copies: a variable is copied when the script first reads it."""

    def __init__(self, parsed: Parsed, names: Mapping[str, Any]) -> None:
        super().__init__(parsed, names)
        self.owned: dict[str, Any] = {}
        self.assigned: set[str] = set()

    def run(self) -> dict[str, Any]:
        with Positions(self):
            try:
                self._block(self.parsed.tree.body)
            except (_Break, _Continue):
                raise Refusal(N_("break and continue belong into a loop (line %(line)s, column %(column)s).")) from None
            return self._changed()

    def _changed(self) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for name, value in self.owned.items():
            if name.startswith("_"):
                continue
            if name in self.assigned or (name in self.names and not same(value, self.names[name])):
                changed[name] = self.budget.copy(value)
        return changed

    def look_up(self, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name not in self.owned:
            if name not in self.names:
                return MISSING
            self.owned[name] = self.budget.copy(self.names[name])
        return self.owned[name]

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.budget.spend(1)
            self.node = statement
            match statement:
                case ast.Assign(targets=targets, value=value):
                    result = self.visit(value)
                    for target in targets:
                        self._assign(target, result)
                case ast.AugAssign(target=target, op=op, value=value):
                    self._assign(target, self.combine(op, self._current(target), self.visit(value)))
                case ast.If(test=test, body=body, orelse=orelse):
                    self._block(body if self.visit(test) else orelse)
                case ast.For():
                    self._loop(statement)
                case ast.Expr(value=value):
                    self.visit(value)
                case ast.Pass():
                    pass
                case ast.Break():
                    raise _Break
                case ast.Continue():
                    raise _Continue
                case _:
                    raise Refusal(
                        N_("%(construct)s is not part of the language (line %(line)s, column %(column)s)."),
                        construct=type(statement).__name__,
                    )

    def _loop(self, statement: ast.For) -> None:
        """The loop variable is a plain variable of the script that is not handed back."""
        for item in functions.sequence(self.budget, self.visit(statement.iter), "for"):
            self.budget.spend(1)
            self.bind(statement.target, item, self.owned)
            try:
                self._block(statement.body)
            except _Continue:
                continue
            except _Break:
                break

    def _current(self, target: ast.expr) -> Any:
        match target:
            case ast.Name():
                return self.variable(target)
            case ast.Attribute():
                return self.attribute(target)
            case ast.Subscript():
                return self.subscript(target)
            case _:
                raise Refusal(N_("This cannot be assigned to (line %(line)s, column %(column)s)."))

    def _assign(self, target: ast.expr, value: Any) -> None:
        self.node = target
        match target:
            case ast.Name(id=name):
                self.owned[name] = value
                self.assigned.add(name)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part, item in zip(parts, list(self.unpack(value, len(parts))), strict=True):
                    self._assign(part, item)
            case ast.Attribute(value=owner, attr=key):
                self._store(self.visit(owner), key, value)
            case ast.Subscript(value=owner, slice=index) if not isinstance(index, ast.Slice):
                self._store(self.visit(owner), self.visit(index), value)
            case _:
                raise Refusal(N_("This cannot be assigned to (line %(line)s, column %(column)s)."))

    def _store(self, owner: Any, key: Any, value: Any) -> None:
        """Stores a copy: a value never contains another one twice, let alone itself."""
        if type(owner) is dict:
            self.budget.items(1)
            owner[text_key(key)] = self.budget.copy(value)
        else:
            self.check_index(owner, key)
            if type(owner) is str:
                raise Refusal(N_("This cannot be assigned to (line %(line)s, column %(column)s)."))
            owner[key] = self.budget.copy(value)
