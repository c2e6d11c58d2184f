"""What the check found in footage is read in either language."""

import re
from inspect import getsource

import pytest
from flask import Flask

from device import integrity
from web.verdicts import KINDS, finding_text

LOST = {"kind": "gap", "severity": "warning", "at_seconds": 83.0, "detail": "12.0 s were never recorded"}


@pytest.mark.parametrize(
    ("language", "finding", "text"),
    [
        ("en", LOST, "12.0 s were never recorded"),
        ("zh", LOST, "缺口，位于首帧后 1 分钟 23 秒"),
        ("zh", {"kind": "digest", "at_seconds": None, "detail": "its SHA-256 differs"}, "文件与调取时不一致"),
        ("en", {"kind": "digest"}, "the file is not the one that was retrieved"),
        ("zh", {"kind": "of a later version", "detail": "something new"}, "something new"),
    ],
)
def test_a_finding_is_said_in_the_reader_s_language(
    site: Flask, language: str, finding: dict[str, object], text: str
) -> None:
    with site.test_request_context(f"/?lang={language}"):
        assert finding_text(finding) == text


def test_every_kind_of_finding_has_its_words() -> None:
    found = set(re.findall(r'verdict\.add\(\s*"(\w+)"', getsource(integrity)))
    assert {"gap", "unreadable", "digest"} <= found
    assert found <= KINDS.keys()
