"""Personal fields: the kernel carries them encrypted (engine/personal.py), so no diagram can compute with them.

A condition, script, decision table, timer or prefill that reads one would see ciphertext and decide by it. Operators
that ask for personal data, and personal fields of other forms, may be handed one as it is.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine import operators
from engine.errors import N_, DefinitionError, ExpressionError, Problem, Sentence
from engine.expressions.syntax import Mode, parse
from engine.forms import Form
from engine.forms import parse as parse_form
from engine.lint.report import BPMN, SPIFF, Report, extension, kind
from engine.lint.xml import Node

_SCRIPTS = frozenset({BPMN + "script", SPIFF + "preScript", SPIFF + "postScript"})
_TEXTS = frozenset(
    {
        *(BPMN + name for name in ("conditionExpression", "completionCondition", "loopCondition", "loopCardinality")),
        *(BPMN + name for name in ("loopDataInputRef", "timeDate", "timeDuration", "timeCycle", "condition")),
        *(BPMN + name for name in ("messagePath", "dataPath")),
        *(SPIFF + name for name in ("messagePayload", "payloadExpression", "expression")),
    }
)
_CELLS = ("inputExpression", "inputEntry", "inputValues", "outputEntry", "outputValues", "defaultOutputEntry")
_TOLD = N_("computes with the personal data %(name)s, which is encrypted here")


@dataclass(frozen=True)
class Private:
    """Where personal data lies: variable ("" when a form has none) → keys. `plain` are variables that hold none."""

    fields: Mapping[str, frozenset[str]]
    plain: frozenset[str]
    keys: frozenset[str]

    def read_by(self, text: str, mode: Mode = Mode.EVAL, *, handed: bool = False) -> list[str]:
        """The personal fields that a text reads; with `handed`, those with which it does more than hand them on."""
        try:
            tree = parse(text, mode).tree
        except ExpressionError:
            return []  # said by the rule for expressions, or no expression at all
        around = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        found = [(name, node) for node in ast.walk(tree) if (name := self._named(node))]
        return sorted({name for name, node in found if not (handed and _only_handed(node, around))})

    def _named(self, node: ast.AST) -> str:
        """The personal field that a node reads, as `variable.key`; "" when it reads none."""
        if isinstance(node, ast.Name):
            return node.id if isinstance(node.ctx, ast.Load) and node.id in self.fields.get("", ()) else ""
        read = _member(node)
        if read is None:
            return ""
        owner, key = read
        root = owner
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        name = root.id if isinstance(root, ast.Name) else ""
        if name in self.fields and root is owner:
            keys = self.fields[name]
        else:  # an item of a list, an alias, a variable of a calling process: only the key is known
            keys = frozenset() if name in self.fields or name in self.plain else self.keys
        return f"{ast.unparse(owner)}.{key}" if key in keys else ""


def _member(node: ast.AST) -> tuple[ast.expr, str] | None:
    """(owner, key) of `owner.key`, `owner["key"]`, `owner.get("key")` and `get(owner, "key")`."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[ast.Constant(value=str(key)), *_]):
            return owner, key
        case ast.Call(func=ast.Name(id="get"), args=[owner, ast.Constant(value=str(key)), *_]):
            return owner, key
        case ast.Attribute(value=owner, attr=key):
            return owner, key
        case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))):
            return owner, key
    return None


def _only_handed(node: ast.AST, around: Mapping[ast.AST, ast.AST]) -> bool:
    while (node := around.get(node, node)) and isinstance(node, ast.Dict | ast.List | ast.Tuple):
        pass
    return isinstance(node, ast.Expression)


def private_fields(diagrams: Iterable[Node], files: Mapping[str, str | bytes]) -> Private:
    """What the forms of a deployment mark as personal, and the variables under which its diagrams keep it."""
    forms = {name: form for name, text in files.items() if (form := _parsed(name, text)) is not None}
    fields: dict[str, frozenset[str]] = {}
    plain: set[str] = set()
    for root in diagrams:
        for task in root.iter(BPMN + "userTask"):
            named = next((p.get("value") for p in task.iter(SPIFF + "property") if p.get("name") == _FORM), "").strip()
            form = forms.get(named) or forms.get(f"forms/{named}")
            variable = (task.findtext(f"{BPMN}extensionElements/{SPIFF}variableName") or "").strip()
            keys = _keys(form) if form else frozenset()
            if keys:
                fields[variable] = fields.get(variable, frozenset()) | keys
            elif variable:
                plain.add(variable)
        plain |= {node.get("resultVariable", "") for node in root.iter(SPIFF + "serviceTaskOperator")}
    every = frozenset().union(*(_keys(form) for form in forms.values()))
    return Private(fields, frozenset(plain - fields.keys()), every)


_FORM = "formJsonSchemaFilename"


def _parsed(name: str, text: str | bytes) -> Form | None:
    if not name.endswith(".form"):
        return None
    try:
        return parse_form(text if isinstance(text, str) else text.decode(), name)
    except (DefinitionError, UnicodeDecodeError):
        return None  # its own problems are told


def _keys(form: Form) -> frozenset[str]:
    return frozenset(field.key for field in form.inputs if field.personal)


# ---- the rule -------------------------------------------------------------------------------------------------------


def check_diagram(root: Node, private: Private, report: Report) -> None:
    """Everything that is evaluated in a diagram."""
    for node, text, mode, handed in _evaluated(root):
        for name in private.read_by(text, mode, handed=handed):
            report.error(node, "personal", _TOLD, name=name)


def _evaluated(root: Node) -> Iterator[tuple[Node, str, Mode, bool]]:
    for node in root.iter():
        if node.tag in _TEXTS:
            yield node, node.text or "", Mode.EVAL, False
        elif node.tag in _SCRIPTS:
            yield node, node.text or "", Mode.EXEC, False
        elif node.tag == SPIFF + "property" and node.get("name") in ("assignee", "candidateUsers", "excluded"):
            yield node, node.get("value") or "", Mode.EVAL, False
        elif kind(node) == "serviceTask" and (named := extension(node, "serviceTaskOperator")) is not None:
            handed = _asks(named.get("id") or "")
            for parameter in named.iter(SPIFF + "parameter"):
                yield parameter, parameter.get("value") or "", Mode.EVAL, handed


def _asks(operator: str) -> bool:
    try:
        return operators.get(operator).personal
    except operators.UnknownOperatorError:
        return False


def table_problems(file: str, root: Node, private: Private) -> list[Problem]:
    """Everything that is evaluated in a file of decision tables."""
    found = []
    for cell in root.iter(*(f"{{*}}{name}" for name in _CELLS)):
        text = (cell.findtext("{*}text") or "").replace("?", "__input__")
        for name in private.read_by(text):
            told = Sentence(_TOLD, {"name": name})
            found.append(Problem(file, cell.sourceline or 1, cell.get("id") or "", "personal", told))
    return found


def form_problems(file: str, text: str, private: Private) -> list[Problem]:
    """Prefills: personal data goes only into personal fields, as it is."""
    form = _parsed(file, text)
    found = []
    for field in form.inputs if form else ():
        for name in private.read_by(field.prefill, handed=field.personal):
            told = N_("from: %(name)s is personal, this is not")
            if field.personal:
                told = N_("from: computes with the personal data %(name)s, which is encrypted here")
            line = text.count("\n", 0, max(0, text.find(f'"{field.key}"'))) + 1
            found.append(Problem(file, line, field.key, "personal", Sentence(told, {"name": name})))
    return found
