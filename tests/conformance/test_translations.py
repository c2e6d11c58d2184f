"""Everything that a person reads of the diagram, the decision table and the forms exists in English too."""

import json
import re
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

FOLDER = Path(__file__).parents[2] / "bpmn"
CHINESE = re.compile(r"[\u3400-\u9fff]")
ENGLISH = json.loads((FOLDER / "translations" / "en.json").read_text())


def texts(file: Path) -> Iterator[str]:
    """The names, documentation and labels of one file."""
    if file.suffix == ".form":
        pending = [json.loads(file.read_text())]
        while pending:
            found = pending.pop()
            if isinstance(found, dict):
                yield from (
                    found[key] for key in ("label", "text", "description", "dateLabel", "timeLabel") if key in found
                )
                pending += found.values()
            elif isinstance(found, list):
                pending += found
        return
    for element in etree.parse(file).iter():
        yield from (element.get(key) or "" for key in ("name", "label"))
        if etree.QName(element).localname in ("documentation", "description"):
            yield element.text or ""
        if etree.QName(element).localname == "parameter" and element.get("id") == "template":
            yield str(literal_eval(element.get("value") or ""))


FILES = sorted(file for file in FOLDER.rglob("*") if file.suffix in (".bpmn", ".dmn", ".form"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_chinese_text_has_an_english_one(file: Path) -> None:
    missing = [text for text in texts(file) if CHINESE.search(text) and not ENGLISH.get(text)]
    assert missing == []


def test_no_translation_is_left_chinese() -> None:
    assert [english for english in ENGLISH.values() if CHINESE.search(english)] == []


def test_a_notice_has_the_same_placeholders_in_both_languages() -> None:
    placeholder = re.compile(r"%\(\w+\)s")
    assert [
        (chinese, english)
        for chinese, english in ENGLISH.items()
        if sorted(placeholder.findall(chinese)) != sorted(placeholder.findall(english))
        or placeholder.sub("", chinese + english).count("%")
    ] == []
