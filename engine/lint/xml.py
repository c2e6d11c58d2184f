"""Reads XML that somebody hostile may have written. Nothing it refers to is fetched, nothing in it is expanded."""

import re
from typing import Any

from lxml import etree

from engine.errors import N_, DefinitionError, Problem, Sentence

Node = Any
"""An lxml element; lxml's stubs would ask at every step whether the id and the parent exist."""

MAX_BYTES = 5_000_000
MAX_TAGS = 200_000
MAX_DEPTH = 100

_NO_DOCTYPE = N_("a document type declaration (and so any entity) is not allowed")
_DECLARATION = re.compile(r"""<\?xml\s[^>]*?encoding\s*=\s*["']([^"']*)["']""")


def read_xml(source: str | bytes, file: str = "") -> Node:
    """The root element of a document.

    Raises:
        DefinitionError: one problem: larger than 5 MB, not UTF-8, not well-formed (with its line), a document type
            declaration or entities, or nested too deeply.
    """
    if len(source) > MAX_BYTES:
        raise _refused(file, 1, "xml-size", N_("the file is larger than %(limit)s MB"), limit=MAX_BYTES // 1_000_000)
    text = source if isinstance(source, str) else _decoded(source, file)
    text = text.removeprefix("\ufeff")
    declared = _DECLARATION.match(text)
    if declared is not None and declared[1].upper() not in ("UTF-8", "UTF8", "US-ASCII"):
        told = N_("the file says that it is %(encoding)s: save it as UTF-8")
        raise _refused(file, 1, "not-utf8", told, encoding=declared[1][:40])
    if text.count("<") > 2 * MAX_TAGS:
        raise _refused(file, 1, "xml-size", N_("the file has more than %(limit)s elements"), limit=MAX_TAGS)
    doctype = _doctype(text)
    if doctype >= 0:
        line = text.count("\n", 0, doctype) + 1
        raise _refused(file, line, "dtd", _NO_DOCTYPE)
    root = _parsed(text, file)
    if root.getroottree().docinfo.doctype:
        raise _refused(file, 1, "dtd", _NO_DOCTYPE)
    _check_depth(root, file)
    return root


def _refused(file: str, line: int, rule: str, template: str, **params: Any) -> DefinitionError:
    return DefinitionError([Problem(file, line, "", rule, Sentence(template, params))])


def _decoded(source: bytes, file: str) -> str:
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        told = N_("byte %(place)s is not UTF-8: save the file as UTF-8")
        raise _refused(file, line, "not-utf8", told, place=error.start) from None


def _doctype(text: str) -> int:
    """Where the document type declaration begins, or -1. It can only stand before the first element."""
    position = 0
    while True:
        position = text.find("<", position)
        if position < 0:
            return -1
        if text.startswith("<!--", position):
            position = text.find("-->", position)
        elif text.startswith("<?", position):
            position = text.find("?>", position)
        else:
            return position if text.startswith("<!", position) else -1
        if position < 0:
            return -1


def _parsed(text: str, file: str) -> Node:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    try:
        return etree.fromstring(text.encode("utf-8"), parser)
    except UnicodeEncodeError:
        raise _refused(file, 1, "not-utf8", N_("the file contains characters that are not text")) from None
    except etree.XMLSyntaxError as error:
        line = max(1, error.lineno or 1)
        if "depth" in str(error).lower():
            raise _too_deep(file, line) from None
        told = N_("not well-formed XML: %(error)s")
        raise _refused(file, line, "not-well-formed", told, error=error.msg or "empty") from None


def _check_depth(root: Node, file: str) -> None:
    depth = 0
    for event, node in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            raise _too_deep(file, node.sourceline or 1)


def _too_deep(file: str, line: int) -> DefinitionError:
    return _refused(file, line, "xml-depth", N_("elements are nested more than %(limit)s deep"), limit=MAX_DEPTH)
