"""What the lint says is said in the reader's language: every sentence is marked, collected and translated."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from engine.errors import DefinitionError, Problem, Sentence
from engine.expressions import check
from engine.lint import lint
from engine.settings import ROOT
from engine.spiff import compile_definition

ASSETS = Path(__file__).parent / "lint"
SOURCES = [
    *sorted((ROOT / "engine" / "lint").glob("*.py")),
    *(ROOT / "engine" / "forms" / name for name in ("parsing.py", "patterns.py")),
    *(ROOT / "engine" / "spiff" / name for name in ("definition.py", "dmn.py", "refusals.py", "unary.py")),
    ROOT / "engine" / "definitions.py",
]
SAYING = {"Sentence", "Problem", "_add", "_refused", "_told", "add", "error", "problem", "warning"}
"""The functions that take a sentence."""


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    with (ROOT / "web" / "translations" / "zh" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale="zh")


def told_about(name: str) -> list[Problem]:
    """What the lint and the compiler say about a file."""
    content = (ASSETS / name).read_bytes()
    found = lint({name: content}, groups={"employee"})
    try:
        compile_definition({name: content.decode(errors="replace")}, "test_process")
    except DefinitionError as error:
        found += error.problems
    return found


def templates(sentence: Sentence) -> Iterator[str]:
    yield sentence.template
    for value in sentence.params.values():
        if isinstance(value, Sentence):
            yield from templates(value)


def test_what_is_said_about_any_broken_file_is_said_in_chinese(catalogue: Catalog) -> None:
    said = {
        text
        for file in sorted(ASSETS.iterdir())
        for problem in told_about(file.name)
        for text in templates(problem.sentence)
        if " " in text  # a word alone is the name of an element, and may be the same in every language
    }
    assert len(said) > 90
    assert [text for text in sorted(said) if not (found := catalogue.get(text)) or not found.string] == []


@pytest.mark.parametrize(
    ("expression", "chinese"),
    [
        ("a b", "无法解析：语法不对（第 1 行第 3 列）。"),
        ("lambda: 1", "表达式语言不支持 lambda（第 1 行第 1 列）。"),
        ("open('x')", "没有函数 open（第 1 行第 1 列）。"),
    ],
)
def test_what_is_wrong_inside_an_expression_is_said_in_chinese(
    catalogue: Catalog, expression: str, chinese: str
) -> None:
    def translate(text: str) -> str:
        found = catalogue.get(text)
        return str(found.string) if found and found.string else text

    ((_line, _column, told),) = check(expression)
    assert told.said(translate) == chinese


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_sentence_is_marked_for_the_catalogue(path: Path) -> None:
    assert [(text.lineno, ast.unparse(text)) for text in unmarked(ast.parse(path.read_text()))] == []


def test_a_sentence_that_is_not_marked_is_found() -> None:
    source = 'report.error(node, "rule", f"{name} is gone")\ntold = "it is gone"\nadd(1, N_("%(x)s is"), x="a-b")'
    assert sorted(text.lineno for text in unmarked(ast.parse(source))) == [1, 2]


def unmarked(tree: ast.Module) -> list[ast.expr]:
    """Texts of several words that are handed to what tells them, without N_ around them."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in SAYING:
            handed = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "told":
            handed = [node.value]
        else:
            continue
        found += [text for text in handed if isinstance(text, ast.JoinedStr) or _words(text)]
    return found


def _words(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
