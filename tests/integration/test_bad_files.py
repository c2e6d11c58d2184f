"""Broken and hostile files at every place that takes one: API, upload, modeler, command line. Nothing is deployed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from premises import Answer, Premises
from visitors import Browser, in_chinese

from engine.settings import ROOT

DIAGRAM = (ROOT / "bpmn" / "footage_retrieval.bpmn").read_bytes()
SECRET = "the marrow of the matter"
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'

HOSTILE: dict[str, tuple[bytes, str]] = {
    "truncated": (DIAGRAM[: len(DIAGRAM) // 2], "not-well-formed"),
    "empty": (b"", "not-well-formed"),
    "not XML at all": (b"PK\x03\x04" + bytes(range(128)) * 3, "not-well-formed"),
    "an external entity": (
        HEAD
        + b'<!DOCTYPE d [<!ENTITY x SYSTEM "file://%(secret)s">]>'
        + DIAGRAM.split(b"?>", 1)[1].replace("调取申请表".encode(), b"&x;", 1),
        "dtd",
    ),
    "a billion laughs": (
        HEAD
        + b"<!DOCTYPE d [<!ENTITY l0 'ha'>"
        + b"".join(b"<!ENTITY l%d '%s'>" % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
        + b"]><d>&l9;</d>",
        "dtd",
    ),
    "not UTF-8": (HEAD + "<定义/>".encode("gb18030"), "not-utf8"),
    "another encoding": ('<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16"), "not-utf8"),
    "too deep": (HEAD + b"<a>" * 300 + b"</a>" * 300, "xml-depth"),
    "larger than 5 MB": (HEAD + b"<a>" + b"x" * 5_100_000 + b"</a>", "xml-size"),
    "another language": (HEAD + b'<html xmlns="http://www.w3.org/1999/xhtml"/>', "not-bpmn"),
}


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret.txt"
    path.write_text(SECRET)
    return path


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest, secret: Path) -> tuple[bytes, str]:
    content, rule = HOSTILE[request.param]
    return content.replace(b"%(secret)s", str(secret).encode()), rule


@pytest.fixture(autouse=True)
def nothing_is_deployed(service: Premises) -> Iterator[None]:
    """Whatever a test of this module sends, the versions stay as they are and the service stays alive."""
    before = service.ask("owner", "GET", "/definitions")
    yield
    assert service.ask("owner", "GET", "/definitions") == before
    assert "unexpected error" not in (service.folder / "web.log").read_text()


def rules(answer: Answer) -> set[str]:
    return {problem["rule"] for problem in answer.json["problems"]}


def encodings(rule: str) -> set[str]:
    """What is not UTF-8 is found while the upload becomes text, before there is any XML to speak of."""
    return {rule, "encoding"} if rule == "not-utf8" else {rule}


def deploy(service: Premises, name: str, content: bytes, *, by: str = "owner", lang: str = "en") -> Answer:
    return service.call(by, "POST", "/deployments", files={"files": (name, content)}, lang=lang)


def test_the_api_refuses_hostile_diagrams_with_problems(service: Premises, hostile: tuple[bytes, str]) -> None:
    content, rule = hostile
    began = time.monotonic()
    answer = deploy(service, "footage_retrieval.bpmn", content)
    assert (answer.status, answer.kind) == (422, "application/problem+json")
    assert rules(answer) & encodings(rule)
    assert all(problem["file"] == "footage_retrieval.bpmn" for problem in answer.json["problems"])
    assert all(problem["message"] and problem["line"] >= 1 for problem in answer.json["problems"])
    assert SECRET not in answer.text
    assert time.monotonic() - began < 10


def test_the_upload_page_refuses_hostile_diagrams(browser: Browser, hostile: tuple[bytes, str]) -> None:
    content, _rule = hostile
    for lang in ("en", "zh"):
        upload = {"files": ("footage_retrieval.bpmn", content)}
        answer = browser.post("owner", "/studio/deploy", {"note": "try"}, files=upload, lang=lang)
        assert answer.status == 422, answer.text[:500]
        assert "footage_retrieval.bpmn" in answer.text
        assert SECRET not in answer.text
        assert f'<html lang="{lang}' in answer.text


@pytest.mark.parametrize("action", ["lint", "deploy"])
def test_the_modeler_refuses_hostile_diagrams(browser: Browser, hostile: tuple[bytes, str], action: str) -> None:
    content, rule = hostile
    form = {"xml": content.decode("utf-8", errors="replace"), "note": "try", "base": "1"}
    answer = browser.post("owner", f"/studio/footage_retrieval/{action}", form)
    assert answer.status == (200 if action == "lint" else 422)
    found = {problem["rule"] for problem in answer.json["problems"]}
    if rule == "not-utf8":  # a browser has already made text of it
        assert found
    else:
        assert rule in found
    assert SECRET not in answer.text


# ---- 50 MB ----------------------------------------------------------------------------------------------------------

MEGABYTES = b"x" * 50_000_000


def refused_as_too_large(send: Callable[[], requests.Response]) -> Any:
    """The server may close the connection while it is still being talked to: that refuses, too."""
    try:
        answer = send()
    except requests.ConnectionError:
        return None
    assert answer.status_code == 413, answer.text[:300]
    return answer


@pytest.mark.parametrize("path", ["/deployments", "/instances", "/messages"])
def test_fifty_megabytes_are_refused_by_the_api(service: Premises, path: str) -> None:
    headers = {"Authorization": f"Bearer {service.tokens['owner']}"}
    more = {"files": {"files": ("a.bpmn", MEGABYTES)}} if path == "/deployments" else {"data": b'"' + MEGABYTES + b'"'}
    answer = refused_as_too_large(
        lambda: requests.post(f"{service.url}/api/v1{path}?lang=en", headers=headers, timeout=60, **more)
    )
    if answer is not None:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"] == "More than 8 MB are not accepted."


def pieces(before: bytes, after: bytes) -> Iterator[bytes]:
    yield before
    for _ in range(50):
        yield b"x" * 1_000_000
    yield after


@pytest.mark.parametrize("path", ["/instances", "/messages", "/tasks/{task}/complete", "/deployments"])
def test_fifty_megabytes_of_unannounced_length_are_refused_too(service: Premises, path: str) -> None:
    """Sent in pieces, without a Content-Length."""
    begun = service.ask("owner", "POST", "/instances", {"process_id": "footage_retrieval", "data": {}})["id"]
    path = path.format(task=service.task(begun, "fill_application")["id"])
    headers = {"Authorization": f"Bearer {service.tokens['owner']}", "Content-Type": "application/json"}
    data = pieces(b'{"process_id": "', b'"}')
    if path == "/deployments":
        headers["Content-Type"] = "multipart/form-data; boundary=cut"
        part = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="a.bpmn"\r\n\r\n'
        data = pieces(part, b"\r\n--cut--\r\n")
    refused_as_too_large(lambda: requests.post(f"{service.url}/api/v1{path}", headers=headers, data=data, timeout=60))


@pytest.mark.parametrize("name", ["footage_retrieval.bpmn", "committee_votes.dmn", "application.form", "en.json"])
def test_fifty_megabytes_are_refused_by_the_upload_page(browser: Browser, name: str) -> None:
    began = time.monotonic()
    content = b'{"' + MEGABYTES + b'": "x"}' if name == "en.json" else MEGABYTES
    answer = browser.post("owner", "/studio/deploy", {"note": "try"}, files={"files": (name, content)})
    assert answer.status in {413, 422}
    if answer.status == 413:
        assert "This is too large" in answer.text
    assert time.monotonic() - began < 20
    translated = in_chinese("This is too large")
    if translated and answer.status == 413:
        again = browser.post("owner", "/studio/deploy", {}, files={"files": (name, content)}, lang="zh")
        assert translated in again.text


# ---- names, roles, several files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd.bpmn", "/etc/cron.d/x.bpmn", "a%0ab.bpmn", ".hidden.bpmn", "x.exe", "a/b"],
)
def test_a_file_name_that_leads_elsewhere_is_refused(service: Premises, name: str) -> None:
    answer = deploy(service, name, DIAGRAM)
    assert answer.status == 422
    assert "file-name" in rules(answer)


@pytest.mark.parametrize("user", ["applicant", "reviewer", "auditor"])
def test_only_process_owners_deploy(service: Premises, browser: Browser, user: str) -> None:
    answer = deploy(service, "footage_retrieval.bpmn", DIAGRAM, by=user)
    assert (answer.status, answer.json["detail"]) == (403, "Only process owners deploy diagrams.")
    upload = {"files": ("footage_retrieval.bpmn", DIAGRAM)}
    assert browser.post(user, "/studio/deploy", {"note": "x"}, files=upload).status == 403
    translated = in_chinese("Only process owners deploy diagrams.")
    if translated:
        assert deploy(service, "a.bpmn", DIAGRAM, by=user, lang="zh").json["detail"] == translated


def test_one_bad_file_among_good_ones_deploys_none_of_them(service: Premises) -> None:
    """Both files are posted under the same name, as a form with one file input does."""
    changed = DIAGRAM.replace("需要调取录像".encode(), "要调取录像了".encode(), 1)
    assert changed != DIAGRAM
    files = [("files", ("footage_retrieval.bpmn", changed)), ("files", ("forms/vote.form", b"{"))]
    answer = service.call("owner", "POST", "/deployments", files=files)
    assert answer.status == 422
    assert {problem["file"] for problem in answer.json["problems"]} == {"forms/vote.form"}


# ---- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["lint", "deploy"])
@pytest.mark.parametrize("name", ["an external entity", "not UTF-8"])
def test_the_command_line_refuses_hostile_diagrams(
    service: Premises, secret: Path, tmp_path: Path, name: str, command: str
) -> None:
    """The others are in tests/unit/test_cli.py."""
    content, rule = HOSTILE[name]
    file = tmp_path / "footage_retrieval.bpmn"
    file.write_bytes(content.replace(b"%(secret)s", str(secret).encode()))
    done = subprocess.run(
        [sys.executable, "-m", "web.cli", command, str(file)],
        env={**os.environ, "DIAOQU_DATA": str(service.folder), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert SECRET not in said
    first, *_rest = (line for line in said.splitlines() if line.startswith("footage_retrieval.bpmn:"))
    _file, line, _element, found, _message = first.split(":", 4)
    assert int(line) >= 1
    assert found.strip() in encodings(rule)
