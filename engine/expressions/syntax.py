"""Which texts are in the language: parsing and the whitelist of syntax nodes. Nothing runs here."""

import ast
import math
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal

from engine.errors import N_, ExpressionError, Sentence
from engine.expressions import functions
from engine.expressions.values import MAX_INT

MAX_SOURCE = 20_000
MAX_NESTING = 60


class Mode(StrEnum):
    EVAL = "eval"
    EXEC = "exec"


_EXPRESSIONS: tuple[type[ast.AST], ...] = (
    ast.Expression, ast.Module, ast.Constant, ast.Name, ast.Load, ast.Store, ast.BinOp, ast.UnaryOp, ast.BoolOp,
    ast.Compare, ast.IfExp, ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Slice, ast.List, ast.Tuple,
    ast.Dict, ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.JoinedStr, ast.FormattedValue,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.UAdd, ast.USub, ast.Not, ast.And, ast.Or,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
)  # fmt: skip
_STATEMENTS: tuple[type[ast.AST], ...] = (
    ast.Assign, ast.AugAssign, ast.If, ast.For, ast.Expr, ast.Pass, ast.Break, ast.Continue,
)  # fmt: skip
_ALLOWED = {Mode.EVAL: _EXPRESSIONS, Mode.EXEC: _EXPRESSIONS + _STATEMENTS}
_FORMAT = re.compile(r"0?\d{0,2},?(?:\.\d{1,2})?[df%]?", re.ASCII)


@dataclass(frozen=True)
class Parsed:
    """A text that is in the language. `tree` is an ast.Expression or ast.Module with whitelisted nodes only."""

    tree: Any
    lines: tuple[str, ...]
    shift: int

    def position(self, node: ast.AST) -> dict[str, int]:
        """Line and column (from 1) in the text as written; Python counts columns in UTF-8 bytes."""
        line = getattr(node, "lineno", 1)
        offset = getattr(node, "col_offset", 0)
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        column = len(text.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore"))
        return {"line": line, "column": max(1, column + 1 + (self.shift if self.shift > 0 or line == 1 else 0))}


@lru_cache(maxsize=4096)
def parse(text: str, mode: Mode) -> Parsed:
    """Raises ExpressionError for the first thing that is not in the language."""
    parsed = _parse(text, mode)
    for error in _problems(parsed, mode):
        raise error
    return parsed


def check(text: str, mode: Literal["eval", "exec"] = "eval") -> list[tuple[int, int, Sentence]]:
    """Everything in `text` that is not in the language, as (line, column, what is wrong); for use at deployment."""
    try:
        parsed = _parse(text, Mode(mode))
    except ExpressionError as error:
        return [(error.params["line"], error.params["column"], error.sentence)]
    found = [(error.params["line"], error.params["column"], error.sentence) for error in _problems(parsed, Mode(mode))]
    return sorted(set(found))


def _parse(text: str, mode: Mode) -> Parsed:
    if len(text) > MAX_SOURCE:
        raise ExpressionError(
            N_("The expression is longer than %(limit)s characters."), limit=MAX_SOURCE, line=1, column=1
        )
    source, shift = text, 0
    if mode is Mode.EXEC:
        source = textwrap.dedent(text)
        shift = _indent(text) - _indent(source)
    else:
        source = text.strip()
        if not source:
            raise ExpressionError(N_("The expression is empty."), line=1, column=1)
        if "\n" in source:
            # Conditions are often broken over lines in a diagram; Python allows that in parentheses only.
            source, shift = f"({source}\n)", -1
    try:
        tree = ast.parse(source, mode=mode.value)
    except SyntaxError as error:
        if mode is Mode.EVAL and _assigns(source):
            raise ExpressionError(N_("Write == to compare; a single = assigns."), line=1, column=1) from None
        line, column = error.lineno or 1, error.offset or 1
        raise ExpressionError(
            N_("This cannot be read: %(problem)s (line %(line)s, column %(column)s)."),
            problem=Sentence(error.msg),
            line=line,
            column=max(1, column + (shift if shift > 0 or line == 1 else 0)),
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError(
            N_("This cannot be read: it is nested too deeply or contains forbidden characters."), line=1, column=1
        ) from None
    return Parsed(tree, tuple(source.split("\n")), shift)


SLIPS = (
    N_("invalid syntax"), N_("invalid syntax. Perhaps you forgot a comma?"), N_("expected ':'"),
    N_("'(' was never closed"), N_("'[' was never closed"), N_("'{' was never closed"),
    N_("unmatched ')'"), N_("unmatched ']'"), N_("unmatched '}'"),
    N_("unterminated string literal (detected at line 1)"), N_("invalid decimal literal"),
)  # fmt: skip
"""What Python says of the most frequent ones, for the catalogue."""


def _assigns(source: str) -> bool:
    """Whether the text would be an assignment: the most frequent slip in a condition."""
    try:
        found = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(found) and isinstance(found[0], ast.Assign)


def _indent(text: str) -> int:
    first = next((line for line in text.split("\n") if line.strip()), "")
    return len(first) - len(first.lstrip())


def _problems(parsed: Parsed, mode: Mode) -> Iterator[ExpressionError]:
    """Walk the tree without recursion, so that its depth cannot hurt."""
    stack: list[tuple[ast.AST, int, ast.AST | None]] = [(parsed.tree, 0, None)]
    while stack:
        node, depth, parent = stack.pop()
        if depth > MAX_NESTING:
            yield _error(parsed, node, N_("This is nested too deeply (line %(line)s, column %(column)s)."))
            return
        if not isinstance(node, _ALLOWED[mode]):
            yield _foreign(parsed, node if hasattr(node, "lineno") or parent is None else parent, _word(node))
            continue
        yield from _node_problems(parsed, node, parent, mode)
        stack.extend((child, depth + 1, node) for child in reversed(list(ast.iter_child_nodes(node))))


def _error(parsed: Parsed, node: ast.AST, template: str, **params: Any) -> ExpressionError:
    return ExpressionError(template, **params, **parsed.position(node))


def _foreign(parsed: Parsed, node: ast.AST, construct: str) -> ExpressionError:
    template = N_("%(construct)s is not part of the language (line %(line)s, column %(column)s).")
    return _error(parsed, node, template, construct=construct)


def _node_problems(parsed: Parsed, node: ast.AST, parent: ast.AST | None, mode: Mode) -> Iterator[ExpressionError]:
    name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
    if isinstance(name, str) and name.startswith("__"):
        yield _error(
            parsed,
            node,
            N_("Names with two leading underscores are refused: %(name)s (line %(line)s, column %(column)s)."),
            name=name,
        )
    match node:
        case ast.Constant(value=value):
            if not _constant_allowed(value):
                yield _error(parsed, node, N_("This constant is not a JSON value (line %(line)s, column %(column)s)."))
        case ast.Name(id=word, ctx=ast.Store()) if word in functions.NAMES:
            yield _error(
                parsed,
                node,
                N_("%(name)s is the name of a function (line %(line)s, column %(column)s)."),
                name=word,
            )
        case ast.Call():
            yield from _call_problems(parsed, node, mode)
        case ast.GeneratorExp() if not (isinstance(parent, ast.Call) and parent.args == [node]):
            yield _error(
                parsed,
                node,
                N_("Write a list in square brackets instead (line %(line)s, column %(column)s)."),
            )
        case ast.comprehension(is_async=1):
            yield _foreign(parsed, node.target, "async")
        case ast.comprehension(target=target) | ast.For(target=target):
            if any(not isinstance(part, ast.Name) for part in _targets(target)):
                yield _error(
                    parsed,
                    target,
                    N_("A loop variable must be a plain name (line %(line)s, column %(column)s)."),
                )
            if isinstance(node, ast.For) and node.orelse:
                yield _foreign(parsed, node, "for … else")
        case ast.Compare(ops=ops, comparators=comparators):
            for operation, right in zip(ops, comparators, strict=True):
                if isinstance(operation, ast.Is | ast.IsNot) and not (
                    isinstance(right, ast.Constant) and (right.value is None or isinstance(right.value, bool))
                ):
                    yield _error(
                        parsed,
                        right,
                        N_("Use == here; “is” is only for None, True and False (line %(line)s, column %(column)s)."),
                    )
        case ast.FormattedValue(conversion=conversion, format_spec=spec):
            if conversion not in (-1, 115) or not _format_allowed(spec):
                yield _error(
                    parsed,
                    node,
                    N_("Only formats like .2f, 03d or , are allowed (line %(line)s, column %(column)s)."),
                )


def _targets(target: ast.expr) -> list[ast.expr]:
    return list(target.elts) if isinstance(target, ast.Tuple | ast.List) else [target]


def _format_allowed(spec: ast.expr | None) -> bool:
    return format_text(spec) is not None


def format_text(spec: ast.expr | None) -> str | None:
    """The literal format of a replacement field in an f-string; None when it is not allowed."""
    if spec is None:
        return ""
    if not isinstance(spec, ast.JoinedStr):
        return None
    parts = [part.value for part in spec.values if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if len(parts) != len(spec.values):
        return None
    text = "".join(parts)
    return text if _FORMAT.fullmatch(text) else None


def _constant_allowed(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    if type(value) is int:
        return value <= MAX_INT
    if type(value) is float:
        return math.isfinite(value)
    return value is None or isinstance(value, bool)


def _call_problems(parsed: Parsed, node: ast.Call, mode: Mode) -> Iterator[ExpressionError]:
    for keyword in node.keywords:
        if keyword.arg is None:
            yield _foreign(parsed, node, "**")
    match node.func:
        case ast.Name(id=name):
            if name not in functions.NAMES:
                yield _error(
                    parsed,
                    node.func,
                    N_("There is no function %(name)s (line %(line)s, column %(column)s)."),
                    name=name,
                )
        case ast.Attribute(attr=name):
            if name not in functions.METHOD_NAMES or (name in functions.MUTATING and mode is Mode.EVAL):
                yield _error(
                    parsed,
                    node,
                    N_("There is no method %(name)s here (line %(line)s, column %(column)s)."),
                    name=name,
                )
        case _:
            yield _error(parsed, node, N_("Only named functions can be called (line %(line)s, column %(column)s)."))


def _word(node: ast.AST) -> str:
    words: dict[str, str] = {
        "Lambda": "lambda", "FunctionDef": "def", "AsyncFunctionDef": "async def", "ClassDef": "class",
        "Import": "import", "ImportFrom": "import", "While": "while", "With": "with", "Try": "try",
        "Raise": "raise", "Assert": "assert", "Delete": "del", "Return": "return", "Global": "global",
        "Nonlocal": "nonlocal", "NamedExpr": ":=", "Set": "a set", "SetComp": "a set", "Starred": "*",
        "Await": "await", "Yield": "yield", "YieldFrom": "yield", "Assign": "=", "AugAssign": "an assignment",
        "AnnAssign": "a type annotation", "BitAnd": "&", "BitOr": "|", "BitXor": "^", "LShift": "<<",
        "RShift": ">>", "Invert": "~", "MatMult": "@", "Match": "match",
    }  # fmt: skip
    return words.get(type(node).__name__, type(node).__name__)
