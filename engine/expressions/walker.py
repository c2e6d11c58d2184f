"""Runs a checked syntax tree, node by node, against JSON values and a budget."""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.errors import N_, ExpressionError
from engine.expressions import functions
from engine.expressions.syntax import Parsed, format_text
from engine.expressions.values import Budget, Refusal, is_number, kind_of, not_json, number, text_key

_KINDS = frozenset({type(None), bool, int, float, str, list, dict})
MISSING = object()


class Walker:
    """Evaluates one expression once. The tree was checked by `syntax.parse`; anything else is refused here too."""

    def __init__(self, parsed: Parsed, names: Mapping[str, Any]) -> None:
        self.parsed = parsed
        self.names = names
        self.budget = Budget()
        self.scopes: list[dict[str, Any]] = []
        self.node: ast.AST = parsed.tree

    def value(self) -> Any:
        """The expression's value, as fresh JSON."""
        with Positions(self):
            return self.budget.copy(self.visit(self.parsed.tree.body))

    def visit(self, node: ast.AST) -> Any:
        self.budget.spend(1)
        outer, self.node = self.node, node
        try:
            handler = _HANDLERS[type(node)]
        except KeyError:
            raise Refusal(
                N_("%(construct)s is not part of the language (line %(line)s, column %(column)s)."),
                construct=type(node).__name__,
            ) from None
        result = handler(self, node)
        self.node = outer
        return result

    def look_up(self, name: str) -> Any:
        """The value of a variable, or MISSING."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return self.names.get(name, MISSING)

    def variable(self, node: ast.Name) -> Any:
        found = self.look_up(node.id)
        if found is MISSING:
            raise Refusal(N_("There is no variable %(name)s (line %(line)s, column %(column)s)."), name=node.id)
        return self.known(found)

    def known(self, value: Any) -> Any:
        """Nothing but JSON gets into an expression, even when the caller's names hold something else."""
        if type(value) in _KINDS:
            return value
        if isinstance(value, tuple | Mapping):
            return self.budget.copy(value)
        raise not_json(value)

    def _constant(self, node: ast.Constant) -> Any:
        return self.known(node.value)

    def attribute(self, node: ast.Attribute) -> Any:
        return self._entry(self.visit(node.value), node.attr)

    def _entry(self, value: Any, key: Any) -> Any:
        if type(value) is not dict:
            raise Refusal(
                N_("%(kind)s has no entry %(key)s (line %(line)s, column %(column)s)."),
                kind=kind_of(value),
                key=str(key)[:60],
            )
        found = value.get(text_key(key), MISSING)
        if found is MISSING:
            raise Refusal(N_("There is no entry %(key)s (line %(line)s, column %(column)s)."), key=str(key)[:60])
        return self.known(found)

    def subscript(self, node: ast.Subscript) -> Any:
        value = self.visit(node.value)
        if isinstance(node.slice, ast.Slice):
            return self._slice(value, node.slice)
        key = self.visit(node.slice)
        if type(value) is dict:
            return self._entry(value, key)
        self.check_index(value, key)
        return self.known(value[key])

    def check_index(self, value: Any, key: Any) -> None:
        if type(value) not in (list, str) or type(key) is not int:
            raise Refusal(
                N_("%(kind)s cannot be indexed with %(key)s (line %(line)s, column %(column)s)."),
                kind=kind_of(value),
                key=kind_of(key),
            )
        if not -len(value) <= key < len(value):
            raise Refusal(
                N_("There is no entry %(key)s (line %(line)s, column %(column)s)."),
                key=key,
            )

    def _slice(self, value: Any, node: ast.Slice) -> Any:
        bounds = [None if part is None else self.visit(part) for part in (node.lower, node.upper, node.step)]
        if type(value) not in (list, str) or any(bound is not None and type(bound) is not int for bound in bounds):
            raise Refusal(N_("This cannot be sliced (line %(line)s, column %(column)s)."))
        if bounds[2] == 0:
            raise Refusal(N_("The step of a range or slice must not be 0 (line %(line)s, column %(column)s)."))
        if type(value) is str:
            self.budget.text(len(value))
            return value[slice(*bounds)]
        return self.budget.copy(value[slice(*bounds)])

    def _list(self, node: ast.List | ast.Tuple) -> list[Any]:
        return [self.budget.copy(self.visit(item)) for item in node.elts]

    def _dict(self, node: ast.Dict) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            if key is not None:
                name = text_key(self.visit(key))
                made[name] = self.budget.copy(self.visit(item))
            else:
                merged = self.budget.copy(self.visit(item))
                if type(merged) is not dict:
                    raise Refusal(N_("** needs a dict (line %(line)s, column %(column)s)."))
                made.update(merged)
        return made

    def _unary(self, node: ast.UnaryOp) -> Any:
        value = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        return number(-number(value)) if isinstance(node.op, ast.USub) else number(value)

    def _binary(self, node: ast.BinOp) -> Any:
        return self.combine(node.op, self.visit(node.left), self.visit(node.right))

    def combine(self, op: ast.operator, left: Any, right: Any) -> Any:
        """`left op right` for numbers; + for two texts or lists; * for a text or list and a number."""
        if is_number(left) and is_number(right):
            return self._arithmetic(op, left, right)
        if isinstance(op, ast.Add) and type(left) is type(right) and type(left) in (str, list):
            if type(left) is str:
                self.budget.text(len(left) + len(right))
                return left + right
            self.budget.items(len(left) + len(right))
            return self.budget.copy([*left, *right])
        if isinstance(op, ast.Mult):
            for many, count in ((left, right), (right, left)):
                if type(many) in (str, list) and type(count) is int:
                    return self._repeat(many, max(0, count))
        raise Refusal(
            N_("%(left)s and %(right)s cannot be combined like this (line %(line)s, column %(column)s)."),
            left=kind_of(left),
            right=kind_of(right),
        )

    def _arithmetic(self, op: ast.operator, left: Any, right: Any) -> int | float:
        if isinstance(op, ast.Pow) and (abs(right) > 64 and abs(left) not in (0, 1)):
            raise Refusal(N_("The number is too large (line %(line)s, column %(column)s)."))
        try:
            return number(_ARITHMETIC[type(op)](left, right))
        except ZeroDivisionError:
            raise Refusal(N_("Division by zero (line %(line)s, column %(column)s).")) from None
        except (OverflowError, KeyError):
            raise Refusal(N_("The number is too large (line %(line)s, column %(column)s).")) from None

    def _repeat(self, many: Any, count: int) -> Any:
        length = len(many) * count
        if type(many) is str:
            self.budget.text(length)
            return many * count
        self.budget.items(length)
        return self.budget.copy(many * count)

    def _boolean(self, node: ast.BoolOp) -> Any:
        wanted = isinstance(node.op, ast.Or)
        value = None
        for part in node.values:
            value = self.visit(part)
            if bool(value) is wanted:
                break
        return value

    def _compare(self, node: ast.Compare) -> bool:
        left = self.visit(node.left)
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = self.visit(part)
            if not self._holds(op, left, right):
                return False
            left = right
        return True

    def _holds(self, op: ast.cmpop, left: Any, right: Any) -> bool:
        if isinstance(op, ast.Is | ast.IsNot):
            return (left is right) is isinstance(op, ast.Is)
        if isinstance(op, ast.Eq | ast.NotEq):
            self.budget.weigh(left)
            self.budget.weigh(right)
            return bool(left == right) is isinstance(op, ast.Eq)
        if isinstance(op, ast.In | ast.NotIn):
            return self._contains(left, right) is isinstance(op, ast.In)
        functions.comparable(self.budget, left, right)
        try:
            return bool(_ORDER[type(op)](left, right))
        except TypeError:
            raise Refusal(
                N_("%(left)s and %(right)s have no order (line %(line)s, column %(column)s)."),
                left=kind_of(left),
                right=kind_of(right),
            ) from None

    def _contains(self, item: Any, container: Any) -> bool:
        self.budget.weigh(container)
        self.budget.weigh(item)
        if type(container) is str and type(item) is not str:
            raise Refusal(N_("Only text can be in a text (line %(line)s, column %(column)s)."))
        if type(container) is dict:
            return type(item) is str and item in container
        if type(container) not in (str, list):
            raise Refusal(N_("Nothing can be in %(kind)s (line %(line)s, column %(column)s)."), kind=kind_of(container))
        return item in container

    def _choice(self, node: ast.IfExp) -> Any:
        return self.visit(node.body if self.visit(node.test) else node.orelse)

    def _call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Attribute):
            value = self.visit(node.func.value)
            name = node.func.attr
            function = functions.method(value, name)
            arguments = [value, *(self.visit(argument) for argument in node.args)]
        elif isinstance(node.func, ast.Name) and node.func.id in functions.NAMES:
            name = node.func.id
            if name in ("any", "all") and len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
                return self._quantified(name, node.args[0])
            arguments = [self.visit(argument) for argument in node.args]
            if name == "defined":
                return self._defined(arguments)
            function = functions.FUNCTIONS[name]
        else:
            raise Refusal(N_("Only named functions can be called (line %(line)s, column %(column)s)."))
        keywords = {str(keyword.arg): self.visit(keyword.value) for keyword in node.keywords}
        return self.known(functions.call(function, name, self.budget, arguments, keywords))

    def _quantified(self, name: str, node: ast.GeneratorExp) -> bool:
        """`any` and `all` stop at the first answer, as in Python, so later items cannot fail."""
        wanted = name == "any"
        depth = len(self.scopes)
        for value in self._each(node.generators, node.elt):
            if bool(value) is wanted:
                del self.scopes[depth:]
                return wanted
        return not wanted

    def _defined(self, arguments: list[Any]) -> bool:
        if len(arguments) != 1 or type(arguments[0]) is not str:
            raise Refusal(N_("defined takes one text such as “review.decision” (line %(line)s, column %(column)s)."))
        first, *rest = arguments[0].split(".")
        value = self.look_up(first)
        for key in rest:
            self.budget.spend(1)
            value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
        return value is not MISSING

    def _list_comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> list[Any]:
        made: list[Any] = []
        for value in self._each(node.generators, node.elt):
            self.budget.items(1)
            made.append(self.budget.copy(value))
        return made

    def _dict_comprehension(self, node: ast.DictComp) -> dict[str, Any]:
        made: dict[str, Any] = {}
        pair = ast.Tuple(elts=[node.key, node.value], ctx=ast.Load())
        for key, value in self._each(node.generators, pair):
            made[text_key(key)] = value
        return made

    def _each(self, generators: list[ast.comprehension], element: ast.expr) -> Iterator[Any]:
        if not generators:
            yield self.visit(element)
            return
        first, *rest = generators
        items = functions.sequence(self.budget, self.visit(first.iter), "for")
        scope: dict[str, Any] = {}
        self.scopes.append(scope)
        for item in items:
            self.budget.spend(1)
            self.bind(first.target, item, scope)
            if all(self.visit(condition) for condition in first.ifs):
                yield from self._each(rest, element)
        self.scopes.pop()

    def bind(self, target: ast.expr, value: Any, scope: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            scope[target.id] = self.known(value)
            return
        if not isinstance(target, ast.Tuple | ast.List):
            raise Refusal(N_("A loop variable must be a plain name (line %(line)s, column %(column)s)."))
        for part, item in zip(target.elts, self.unpack(value, len(target.elts)), strict=True):
            self.bind(part, item, scope)

    def unpack(self, value: Any, count: int) -> list[Any]:
        """The `count` entries of a list that is assigned to as many names."""
        if type(value) is not list or len(value) != count:
            raise Refusal(N_("A list of %(count)s entries is needed (line %(line)s, column %(column)s)."), count=count)
        return value

    def _f_string(self, node: ast.JoinedStr) -> str:
        parts: list[str] = []
        length = 0
        for item in node.values:
            text = self.visit(item)
            length += len(text)
            self.budget.text(length)
            parts.append(text)
        return "".join(parts)

    def _formatted(self, node: ast.FormattedValue) -> str:
        value = self.visit(node.value)
        spec = format_text(node.format_spec)
        if not spec:
            return str(functions.FUNCTIONS["str"](self.budget, value))
        try:
            return format(number(value), spec)
        except ValueError:
            raise Refusal(
                N_("Only formats like .2f, 03d or , are allowed (line %(line)s, column %(column)s).")
            ) from None


class Positions:
    """Turns a Refusal into an ExpressionError at the node that was being evaluated."""

    def __init__(self, walker: Walker) -> None:
        self.walker = walker

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refusal):
            position = self.walker.parsed.position(self.walker.node)
            raise ExpressionError(error.template, **error.params, **position) from None
        if isinstance(error, RecursionError):
            position = self.walker.parsed.position(self.walker.node)
            raise ExpressionError(
                N_("This is nested too deeply (line %(line)s, column %(column)s)."), **position
            ) from None


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_HANDLERS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Constant: Walker._constant,
    ast.Name: Walker.variable,
    ast.Attribute: Walker.attribute,
    ast.Subscript: Walker.subscript,
    ast.List: Walker._list,
    ast.Tuple: Walker._list,
    ast.Dict: Walker._dict,
    ast.UnaryOp: Walker._unary,
    ast.BinOp: Walker._binary,
    ast.BoolOp: Walker._boolean,
    ast.Compare: Walker._compare,
    ast.IfExp: Walker._choice,
    ast.Call: Walker._call,
    ast.ListComp: Walker._list_comprehension,
    ast.GeneratorExp: Walker._list_comprehension,
    ast.DictComp: Walker._dict_comprehension,
    ast.JoinedStr: Walker._f_string,
    ast.FormattedValue: Walker._formatted,
}
