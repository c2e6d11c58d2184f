"""The Chinese catalogue holds every text of the pages and messages, in the words of docs/glossary.md."""

import ast
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

import web  # noqa: F401 - and with it every kind of error
from device.recorders.base import DeviceError
from engine.errors import DiaoquError

ROOT = Path(__file__).parents[3]
FILE = ROOT / "web" / "translations" / "zh" / "LC_MESSAGES" / "messages.po"

# What `make messages` looks for: the usual functions and N_, which marks a text that is translated later.
KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2), "lazy_gettext": None}
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%%|\{\w*\}")
CHINESE = re.compile(r"[\u3400-\u9fff]")

SAME_IN_CHINESE = {"SHA-256", "PDF"}
PUNCTUATION = {
    *(
        ", ",
        ": ",
        "; ",
        " (%(cause)s)",
        "%(place)s: %(reason)s",
        "%(camera)s (%(place)s)",
        "“%(text)s”: %(message)s",
        "%(recorder)s: %(error)s",
    ),
}

# A word of an English text, and the glossary's word that its translation must then hold.
TERMS = {
    r"recorder": "录像机",
    r"what the recorders hold": "录像核实",
    r"cameras?": "摄像机",
    r"footage": "录像",
    r"applicant": "申请人",
    r"reviewer": "审核员",
    r"archivists?": "档案管理员",
    r"auditors?": "审计员",
    r"administrators?": "管理员",
    r"process owners?": "流程负责人",
    r"department head": "部门负责人",
    r"committee": "委员会",
    r"deput(y|ies)": "代理人",
    r"process instance": "流程实例",
    r"service task": "服务任务",
    r"incidents?": "异常事件",
    r"jobs?": "作业",
    r"deploy(ed|ment)?": "部署",
    r"lanes?": "泳道",
    r"abstain(ed)?": "弃权",
    r"refused": "驳回|拒绝|不允许",  # a person refuses a request; a recorder, or the language, what it cannot take
    r"withdr(aw|awn)": "撤回",
    r"gaps?": "缺口",
    r"overwrit(e|ten)": "覆盖",
    r"viewing copy": "观看件",
    r"master": "母件",
    r"playback check": "回放检查",
    r"evidence item": "证据项",
    r"bags?": "归档包",
    r"shelf": "架位号",
    r"medium": "载体",
    r"custodian": "保管人",
    r"custody": "保管记录",
    r"case number": "案件",
}

# Words that people use for the same things elsewhere; here they would be a second name.
FOREIGN = ("摄像头", "录像设备", "登陆", "帐号", "账户", "审核人", "撤消", "存档", "签名人", "申请者", "工单", "校对")


@pytest.fixture(scope="module")
def extracted() -> Catalog:
    """Every text that the sources mark, read afresh."""
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = Catalog()
    for name, line, text, _comments, _context in extract_from_dir(
        ROOT, methods, options, keywords=KEYWORDS, directory_filter=_is_source
    ):
        found.add(text, locations=[(name, line)])
    return found


def _is_source(folder: str | Path) -> bool:
    name = Path(folder).name
    return not name.startswith((".", "_")) and name not in {"node_modules", "tests", "data", "build"}


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    with FILE.open("rb") as file:
        return read_po(file, locale="zh", abort_invalid=True)


def messages(catalogue: Catalog) -> Iterator[tuple[Message, str, str]]:
    """Every message with its English (of the plural, where there is one) and its Chinese."""
    for message in catalogue:
        if message.id:
            english = message.id if isinstance(message.id, str) else message.id[-1]
            yield message, english, message.string if isinstance(message.string, str) else message.string[0]


def test_something_is_extracted_from_python_and_from_templates(extracted: Catalog) -> None:
    for text, ending in (("There is no such task.", ".py"), ("Save draft", ".html")):
        message = extracted.get(text)
        assert message is not None
        assert any(name.endswith(ending) for name, _line in message.locations)


def test_every_text_has_a_translation(extracted: Catalog, catalogue: Catalog) -> None:
    missing = []
    for message in extracted:
        found = catalogue.get(message.id) if message.id else message
        if found is None or not found.string or not all(found.string):
            missing.append((message.id, message.locations[:1]))
    assert missing == [], "run `make messages`, then translate what web/translations/zh lacks"


def test_every_error_that_reaches_people_is_marked_for_the_catalogue() -> None:
    """What the command line alone says (its modules, the simulator) stays English."""
    told = {kind.__name__ for root in (DiaoquError, DeviceError) for kind in (root, *_kinds_of(root))}
    paths = [path for part in ("engine", "device", "web") for path in sorted((ROOT / part).rglob("*.py"))]
    english = {ROOT / "web" / name for name in ("cli.py", "proof.py", "setup.py")}
    unmarked = [
        (str(path.relative_to(ROOT)), text.lineno)
        for path in paths
        if path not in english and _is_source(path.parent) and "simulator" not in path.parts
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in told
        for text in _alternatives(call.args[:1])
        if isinstance(text, ast.JoinedStr)
        or (isinstance(text, ast.Constant) and isinstance(text.value, str) and " " in text.value)
    ]
    assert unmarked == []


def _kinds_of(root: type[Exception]) -> Iterator[type[Exception]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds_of(kind)


def _alternatives(found: list[ast.expr]) -> Iterator[ast.expr]:
    for text in found:
        yield from _alternatives([text.body, text.orelse]) if isinstance(text, ast.IfExp) else [text]


def test_the_catalogue_holds_nothing_fuzzy_and_nothing_that_is_gone(extracted: Catalog, catalogue: Catalog) -> None:
    assert [message.id for message in catalogue if message.id and message.fuzzy] == []
    assert list(catalogue.obsolete) == []
    assert [message.id for message in catalogue if message.id and extracted.get(message.id) is None] == []


def test_a_translation_has_the_placeholders_of_its_english(catalogue: Catalog) -> None:
    wrong = [
        (english, chinese)
        for _message, english, chinese in messages(catalogue)
        if sorted(PLACEHOLDER.findall(english)) != sorted(PLACEHOLDER.findall(chinese))
        or PLACEHOLDER.sub("", english).count("%") != PLACEHOLDER.sub("", chinese).count("%")
    ]
    assert wrong == []


def test_every_translation_is_chinese(catalogue: Catalog) -> None:
    left = [
        english
        for _message, english, chinese in messages(catalogue)
        if not CHINESE.search(chinese) and english not in SAME_IN_CHINESE | PUNCTUATION
    ]
    assert left == []


def test_a_sentence_stays_a_sentence(catalogue: Catalog) -> None:
    """A full stop on both sides or on neither, and no Latin punctuation behind a Chinese character."""
    wrong = [
        (english, chinese)
        for _message, english, chinese in messages(catalogue)
        if english.endswith(".") != chinese.endswith("。") or re.search(r"[\u3400-\u9fff][,.;:?!()]", chinese)
    ]
    assert wrong == []


@pytest.mark.parametrize(("term", "word"), TERMS.items(), ids=TERMS)
def test_the_glossary_s_word_is_used(catalogue: Catalog, term: str, word: str) -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert any(one in glossary for one in word.split("|"))
    pattern = re.compile(rf"\b({term})\b", re.IGNORECASE)
    other = [
        (english, chinese)
        for _message, english, chinese in messages(catalogue)
        if pattern.search(PLACEHOLDER.sub("", english)) and not re.search(word, chinese)
    ]
    assert other == []


def test_no_thing_has_a_second_name(catalogue: Catalog) -> None:
    assert [
        (word, chinese) for _message, _english, chinese in messages(catalogue) for word in FOREIGN if word in chinese
    ] == []


def test_the_catalogue_compiles_and_counts_in_one_form(catalogue: Catalog) -> None:
    assert catalogue.num_plurals == 1
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    translations = Translations(compiled)
    assert translations.ugettext("Save draft") == "保存草稿"
    texts = {translations.ungettext("%(num)s unread notice", "%(num)s unread notices", n) for n in (1, 2, 100)}
    assert texts == {"%(num)s 条未读通知"}


def test_the_header_names_nobody_and_no_day() -> None:
    header = FILE.read_text().split("\n\n", 1)[0]
    assert re.findall(r'(?m)^"([\w-]+): ', header) == [
        "Language",
        "Plural-Forms",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]
