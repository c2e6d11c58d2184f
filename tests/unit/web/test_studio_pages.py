"""The studio: checking and deploying a changed diagram, hostile and broken files, versions (clause F3)."""

import io
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from browsing import Visitor
from procedure import House
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from engine import definitions, tasks
from engine.errors import Problem, Sentence
from engine.lint import lint
from engine.settings import ROOT
from web import findings

DIAGRAM = (ROOT / "bpmn" / "footage_retrieval.bpmn").read_text()
LINT_FILES = ROOT / "tests" / "unit" / "lint"
DESK = "/studio/footage_retrieval"

RENAMED = DIAGRAM.replace('name="初审（合法、合理）"', 'name="初审与核对"')
assert RENAMED != DIAGRAM

BOMB = '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n<definitions>&b;</definitions>'
XXE = '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<definitions>&x;</definitions>'


@pytest.fixture
def owner(house: House, arrive) -> Visitor:
    return arrive(house, "owner")


def post(visitor: Visitor, address: str, **fields: Any):
    return visitor.post(address, fields, headers={"Accept": "application/json"})


def versions(house: House) -> list[int]:
    with house.database.reading() as session:
        return [found.version for found in definitions.versions(session, "footage_retrieval")]


def version_of(house: House, instance: UUID) -> int:
    return house.instance(instance).version


# ---- deploying ------------------------------------------------------------------------------------------------------


def test_a_changed_diagram_becomes_the_next_version_and_running_cases_stay_on_theirs(house, owner) -> None:
    before = house.request("gate", to="review_request")
    answer = post(owner, f"{DESK}/deploy", xml=RENAMED, note="The review is named for what it is", base="1")
    assert (answer.status_code, answer.json["version"]) == (200, 2)
    after = house.request("gate", to="review_request")
    assert (version_of(house, before), version_of(house, after)) == (1, 2)
    house.lead(before)
    house.lead(after)
    assert [house.case(one).outcome for one in (before, after)] == ["archived", "archived"]
    names = [
        next(task.name for task in _tasks(house, one) if task.element == "review_request") for one in (before, after)
    ]
    assert names == ["初审（合法、合理）", "初审与核对"]
    page = owner.get(DESK).text
    assert "The review is named for what it is" in page
    assert owner.get(f"{DESK}/versions/1").status_code == 200


def _tasks(house: House, instance: UUID) -> list[Any]:
    with house.database.reading() as session:
        return tasks.of_instance(session, instance)


def test_a_version_needs_a_note(house, owner) -> None:
    answer = post(owner, f"{DESK}/deploy", xml=RENAMED, note="  ")
    assert answer.status_code == 422
    assert "Say what changed and why" in json.dumps(answer.json)
    assert versions(house) == [1]


def test_the_same_diagram_is_no_new_version(house, owner) -> None:
    answer = post(owner, f"{DESK}/deploy", xml=DIAGRAM, note="nothing")
    assert (answer.status_code, versions(house)) == (409, [1])
    assert "Nothing has changed" in answer.json["message"]


def test_what_somebody_else_deployed_meanwhile_is_not_undone(house, owner) -> None:
    assert post(owner, f"{DESK}/deploy", xml=RENAMED, note="first", base="1").status_code == 200
    answer = post(
        owner, f"{DESK}/deploy", xml=DIAGRAM.replace('name="准备表决"', 'name="表决准备"'), note="second", base="1"
    )
    assert (answer.status_code, versions(house)) == (409, [2, 1])
    assert "has deployed version 2 meanwhile" in answer.json["detail"]


def test_an_older_version_is_revised_into_the_newest(house, owner) -> None:
    post(owner, f"{DESK}/deploy", xml=RENAMED, note="first", base="1")
    page = owner.get(f"{DESK}?lang=en&version=1").text
    assert "This is not the newest version" in page
    assert '"base": 2' in page
    assert post(owner, f"{DESK}/deploy", xml=DIAGRAM, note="back again", base="2").status_code == 200
    assert versions(house) == [3, 2, 1]


@pytest.mark.parametrize("username", ["applicant", "operator", "auditor", "reviewer"])
def test_only_process_owners_and_administrators_revise(house, arrive, username) -> None:
    visitor = arrive(house, username)
    assert visitor.get(DESK).status_code == 403
    assert post(visitor, f"{DESK}/deploy", xml=RENAMED, note="mine").status_code == 403
    assert post(visitor, f"{DESK}/lint", xml=RENAMED).status_code == 403
    assert versions(house) == [1]


def test_a_deployment_from_another_site_is_refused(house, owner) -> None:
    answer = owner.client.post(f"{DESK}/deploy", data={"xml": RENAMED, "note": "forged"})
    assert (answer.status_code, versions(house)) == (400, [1])


# ---- findings -------------------------------------------------------------------------------------------------------


def test_findings_name_their_element_and_their_matter_in_the_readers_language(house, owner) -> None:
    broken = DIAGRAM.replace('id="recorder/coverage"', 'id="recorder/covers"')
    found = post(owner, f"{DESK}/lint", xml=broken).json["problems"]
    assert [(one["element"], one["rule"], one["title"]) for one in found if one["severity"] == "error"] == [
        ("verify_coverage", "unknown-operator", "The operator does not exist")
    ]
    refused = post(owner, f"{DESK}/deploy", xml=broken, note="try")
    assert refused.status_code == 422
    assert refused.json["problems"][0]["element"] == "verify_coverage"
    assert versions(house) == [1]


@pytest.mark.parametrize(
    ("language", "title", "message"),
    [
        ("zh", "操作不存在", "没有操作 recorder/covers"),
        ("en", "The operator does not exist", "there is no operator recorder/covers"),
    ],
)
def test_a_process_owner_reads_what_is_wrong_in_their_language(house, owner, language, title, message) -> None:
    broken = DIAGRAM.replace('id="recorder/coverage"', 'id="recorder/covers"')
    linted = post(owner, f"{DESK}/lint?lang={language}", xml=broken)
    deployed = post(owner, f"{DESK}/deploy?lang={language}", xml=broken, note="try")
    for answer in (linted, deployed):
        (problem,) = [one for one in answer.json["problems"] if one["severity"] == "error"]
        assert (problem["title"], problem["message"], problem["rule"]) == (title, message, "unknown-operator")
    upload = {"files": FileStorage(io.BytesIO(broken.encode()), "footage_retrieval.bpmn"), "note": "try"}
    page = owner.post(f"/studio/deploy?lang={language}", upload)
    assert page.status_code == 422
    assert title in page.text
    assert message in page.text
    assert "unknown-operator" in page.text


def test_the_deployed_diagram_has_no_findings(house, owner) -> None:
    assert post(owner, f"{DESK}/lint", xml=DIAGRAM).json["problems"] == []


@pytest.mark.parametrize(
    ("xml", "rule"),
    [
        ("", "not-well-formed"),
        ("hello", "not-well-formed"),
        (DIAGRAM[:5000], "not-well-formed"),
        (XXE, "dtd"),
        (BOMB, "dtd"),
        ("<a>" * 300 + "</a>" * 300, "xml-depth"),
        ("<html/>", "not-bpmn"),
    ],
)
def test_hostile_and_broken_xml_is_named_and_deploys_nothing(house, owner, xml, rule) -> None:
    for answer in (post(owner, f"{DESK}/lint", xml=xml), post(owner, f"{DESK}/deploy", xml=xml, note="try")):
        assert rule in [problem["rule"] for problem in answer.json["problems"]]
        assert "root:" not in answer.text
    assert answer.status_code == 422
    assert versions(house) == [1]


def test_fifty_megabytes_are_refused_with_a_message(house, owner) -> None:
    huge = "<!--" + "x" * 50_000_000 + "-->"
    assert [problem["rule"] for problem in post(owner, f"{DESK}/lint", xml=huge).json["problems"]] == ["xml-size"]
    answer = send(owner, f"{DESK}/deploy", xml=huge, note="huge")
    assert (answer.status_code, answer.json["title"]) == (413, "This is too large")
    answer = send(owner, "/studio/deploy", files=FileStorage(io.BytesIO(huge.encode()), "a.bpmn"), note="huge")
    assert answer.status_code == 422
    assert "The file is too large" in answer.text
    assert versions(house) == [1]


def send(visitor: Visitor, address: str, **fields: Any):
    """Post as the modeler does, without the temporary file that the test client would leave behind."""
    boundary, body = encode_multipart({"csrf_token": visitor.token(), **fields})
    sent = {"data": body, "content_type": f"multipart/form-data; boundary={boundary}"}
    return visitor.client.post(address, headers={"Accept": "application/json"}, **sent)


def test_every_rule_of_the_lint_has_a_title() -> None:
    rules = {
        problem.rule
        for file in sorted(LINT_FILES.iterdir())
        for problem in lint({f"{file.stem}{file.suffix}": file.read_bytes()}, groups={"employee"})
    }
    assert len(rules) > 40
    assert rules <= findings.TITLES.keys()
    assert findings.title(Problem("a", 1, "", "newer", Sentence("its own sentence"))) == "its own sentence"


# ---- files ----------------------------------------------------------------------------------------------------------


def test_files_from_the_computer_are_deployed_together(house, owner) -> None:
    review = json.loads((ROOT / "bpmn/forms/review.form").read_text())
    review["components"][0]["label"] = "意见"
    posted = [
        (io.BytesIO(json.dumps(review).encode()), "../../review.form"),
        (io.BytesIO(RENAMED.encode()), "footage_retrieval.bpmn"),
    ]
    answer = owner.post("/studio/deploy", {"files": posted, "note": "both"}, content_type="multipart/form-data")
    assert answer.status_code == 302, answer.text
    with house.database.reading() as session:
        newest = definitions.latest(session, "footage_retrieval")
        files = definitions.files(session, newest.id)
    assert newest.version == 2
    assert sorted(files) == sorted(definitions.read_folder(ROOT / "bpmn"))
    assert json.loads(files["forms/review.form"]) == review


def test_files_that_are_no_text_are_named(house, owner) -> None:
    file = (io.BytesIO(b"\xff\xfe\x00nonsense"), "review.form")
    page = owner.post("/studio/deploy", {"files": file, "note": "try"}, content_type="multipart/form-data")
    assert page.status_code == 422
    assert "forms/review.form" in page.text
    assert versions(house) == [1]


def test_forms_of_a_version_are_shown_as_people_see_them(house, owner) -> None:
    listed = owner.get(f"{DESK}/versions/1").text
    for name in definitions.read_folder(ROOT / "bpmn"):
        if name.endswith(".form"):
            address = f"{DESK}/versions/1/forms/{Path(name).name}"
            assert f'href="{address}"' in listed
            assert owner.get(address).status_code == 200
    assert owner.get(f"{DESK}/versions/1/forms/none.form").status_code == 404
    assert owner.get(f"{DESK}/versions/9").status_code == 404


def test_the_modeler_offers_what_is_installed(house, owner) -> None:
    page = owner.get(DESK).text
    embedded = json.loads(page.split('id="embedded">')[1].split("</script>")[0])
    offered = embedded["catalogue"]
    acquire = next(found for found in offered["operators"] if found["id"] == "recorder/acquire")
    assert [(one["id"], one["type"], one["required"]) for one in acquire["parameters"]] == [
        ("camera", "str", True),
        ("start_at", "str", True),
        ("end_at", "str", True),
    ]
    assert "review.form" in [found["value"] for found in offered["forms"]]
    assert offered["decisions"] == [{"value": "committee_votes", "label": "需要多少同意票 (FIRST)"}]
    assert {"value": "reviewer", "label": "Reviewer"} in offered["groups"]
