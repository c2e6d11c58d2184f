"""The REST API: every address, who may ask, what comes back, and the document that describes it.

Every answer of this module is compared with the OpenAPI document: its status must be declared, its body must fit.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import text
from watching import Watch
from werkzeug.test import TestResponse

from engine import definitions, identity
from engine.db import Database
from engine.settings import ROOT
from web import openapi
from web.i18n import ZONE

PASSWORD = "correct horse battery"
DIAGRAM = (ROOT / "bpmn" / "footage_retrieval.bpmn").read_bytes()
DOCUMENT = openapi.document()


# ---- the document as a measure --------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def misfits(schema: dict[str, Any], value: Any, where: str = "body") -> list[str]:
    """Where a JSON value does not fit a schema; the part of JSON Schema that the document uses, and nothing besides."""
    unknown = set(schema) - {
        "$ref",
        "type",
        "enum",
        "format",
        "properties",
        "required",
        "items",
        "description",
        "oneOf",
    }
    assert not unknown, f"{where}: the schema uses {unknown}"
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        return misfits(DOCUMENT["components"]["schemas"][name], value, where)
    if "oneOf" in schema:
        fitting = [one for one in schema["oneOf"] if not misfits(one, value, where)]
        return [] if len(fitting) == 1 else [f"{where} fits {len(fitting)} of {schema['oneOf']}"]
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if kinds and not any(KINDS[kind](value) for kind in kinds):
        return [f"{where} is {value!r}, not {kinds}"]
    if value is None:
        return []
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is {value!r}")
    if schema.get("format") == "uuid" and str(UUID(value)) != value:
        found.append(f"{where} is no UUID: {value}")
    if schema.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
        found.append(f"{where} has no offset: {value}")
    if isinstance(value, dict) and "properties" in schema:
        found += [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, inner in schema["properties"].items():
            if name in value:
                found += misfits(inner, value[name], f"{where}.{name}")
    if isinstance(value, list):
        for place, item in enumerate(value):
            found += misfits(schema.get("items", {}), item, f"{where}[{place}]")
    return found


def described(method: str, path: str) -> dict[str, Any] | None:
    """What the document says of an address."""
    for template, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            return dict(operations.get(method.lower()) or {}) or None
    return None


def check_against_the_document(method: str, path: str, answer: TestResponse) -> None:
    operation = described(method, path)
    if operation is None:
        return
    declared = operation["responses"].get(str(answer.status_code))
    assert declared, (
        f"{method} {path} answered {answer.status_code}, which the document does not declare: {answer.text}"
    )
    for kind, content in declared.get("content", {}).items():
        assert answer.content_type == kind
        assert misfits(content["schema"], answer.json) == []


class Caller:
    """Somebody's program: `api("head", "GET", "/tasks")`."""

    def __init__(self, site: Flask, database: Database) -> None:
        self.client, self.database = site.test_client(), database
        self.tokens: dict[str, str] = {"": ""}

    def __call__(self, user: str, method: str, path: str, *, lang: str = "en", **more: Any) -> TestResponse:
        if user not in self.tokens:
            with self.database.transaction() as session:
                found = identity.find(session, user)
                assert found is not None
                self.tokens[user] = identity.issue_token(session, found)
        headers = {"Authorization": f"Bearer {self.tokens[user]}"} if user else {}
        plain, _, query = path.partition("?")
        address = f"/api/v1{plain}?lang={lang}&{query}"
        answer = self.client.open(address, method=method, headers=headers | more.pop("headers", {}), **more)
        check_against_the_document(method, plain, answer)
        return answer

    def problem(self, user: str, method: str, path: str, **more: Any) -> tuple[int, str]:
        """Status and detail of what must be refused, after a look at the rest of the problem document (RFC 9457)."""
        answer = self(user, method, path, **more)
        assert answer.content_type == "application/problem+json", answer.text
        assert answer.status_code >= 400
        assert answer.json["status"] == answer.status_code
        assert answer.json["type"] == "about:blank"
        assert answer.json["title"]
        return answer.status_code, answer.json["detail"]


@pytest.fixture
def api(site: Flask, office: Database) -> Caller:
    return Caller(site, office)


@pytest.fixture
def form(application: dict[str, Any], clock: Any) -> dict[str, Any]:
    """The application as a program sends it: times with their offset, a tick that is a tick."""
    times = {
        key: datetime.fromisoformat(application[key]).replace(tzinfo=ZONE).isoformat() for key in ("start_at", "end_at")
    }
    return {**application, **times, "undertaking": True}


@pytest.fixture
def begun(api: Caller) -> dict[str, Any]:
    """A request that the applicant has begun and not filled in."""
    return dict(api("applicant", "POST", "/instances", json={"process_id": "footage_retrieval", "data": {}}).json)


def task_of(api: Caller, instance: str) -> dict[str, Any]:
    (found,) = api("applicant", "GET", f"/tasks?instance={instance}").json
    return dict(found)


@pytest.fixture
def submitted(api: Caller, begun: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    task = task_of(api, begun["id"])
    assert api("applicant", "POST", f"/tasks/{task['id']}/complete", json={"data": form}).status_code == 200
    return dict(api("applicant", "GET", f"/instances/{begun['id']}").json)


# ---- the document ---------------------------------------------------------------------------------------------------


def test_the_document_has_every_route_and_no_other(site: Flask) -> None:
    routes = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1")))
        for rule in site.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and rule.rule != "/api/v1/openapi.json"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(method, path) for path, found in DOCUMENT["paths"].items() for method in found} == routes


def test_the_document_is_served_to_anybody(site: Flask) -> None:
    answer = site.test_client().get("/api/v1/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.json == DOCUMENT
    assert answer.json["openapi"].startswith("3.1")


def test_the_document_refers_to_nothing_that_it_does_not_hold() -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if "$ref" in value else set()
            return own.union(*(references(item) for item in value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) <= known
    names = [operation["operationId"] for found in DOCUMENT["paths"].values() for operation in found.values()]
    assert len(names) == len(set(names))


# ---- who is asking --------------------------------------------------------------------------------------------------

CLOSED = [
    (method.upper(), path)
    for path, found in DOCUMENT["paths"].items()
    for method, operation in found.items()
    if operation.get("security") != []
]


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer dq_nonsense", "Basic YTpi", "Bearer \u00ff"])
def test_without_a_valid_token_nothing_is_answered(site: Flask, token: str) -> None:
    headers = {"Authorization": token} if token else {}
    for method, path in CLOSED:
        address = "/api/v1" + path.replace("{id}", str(uuid4()))
        answer = site.test_client().open(address, method=method, headers=headers)
        assert (answer.status_code, answer.content_type) == (401, "application/problem+json"), (method, path)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_that_has_expired_is_none(api: Caller, office: Database, clock: Any) -> None:
    with office.transaction() as session:
        head = identity.find(session, "head")
        assert head is not None
        api.tokens["head"] = identity.issue_token(session, head, expires_at=clock.at + timedelta(hours=1))
    assert api("head", "GET", "/tasks").status_code == 200
    clock.forward(hours=1, seconds=1)
    assert api.problem("head", "GET", "/tasks")[0] == 401


def test_the_session_of_a_page_serves_for_reading_and_needs_its_csrf_token_for_writing(
    visitor: Callable[..., Any], office: Database
) -> None:
    owner = visitor("applicant")
    assert owner.client.get("/api/v1/tasks").status_code == 200
    answer = owner.client.post("/api/v1/instances", json={"process_id": "footage_retrieval"})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


def test_a_token_beside_a_session_is_what_counts(visitor: Callable[..., Any], api: Caller) -> None:
    """A page's cookie never lends its rights to a request that names another token."""
    browser = visitor("applicant")
    answer = browser.client.get("/api/v1/tasks", headers={"Authorization": "Bearer dq_nonsense"})
    assert answer.status_code == 401


def test_health_is_for_anybody_and_figures_are_not(api: Caller, begun: dict[str, Any]) -> None:
    assert api("", "GET", "/health").json["status"] == "ok"
    figures = api("head", "GET", "/metrics")
    assert figures.content_type.startswith("text/plain; version=0.0.4")
    assert 'diaoqu_instances{state="running"} 1' in figures.text
    for line in figures.text.splitlines():
        assert line.startswith("# ") or re.fullmatch(r'\w+\{state="\w+"\} \d+', line)


def test_what_is_not_there_is_a_problem_document_too(api: Caller) -> None:
    assert api.problem("head", "GET", "/nothing")[0] == 404
    assert api.problem("head", "DELETE", "/definitions")[0] == 405
    assert api.problem("head", "POST", "/health")[0] == 405


# ---- deployments ----------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(people: Any, office: Database) -> str:
    people.add("owner", "employee", "owner")
    return "owner"


def posted(*files: tuple[str, bytes], field: str = "files") -> dict[str, Any]:
    return {"data": {field: [(BytesIO(content), name) for name, content in files], "note": "because"}}


CHANGED = DIAGRAM.replace("需要调取录像".encode(), "要调取录像了".encode(), 1)


def test_a_deployment_answers_the_versions_it_made(api: Caller, owner: str) -> None:
    answer = api(owner, "POST", "/deployments", **posted(("footage_retrieval.bpmn", CHANGED)))
    assert answer.status_code == 201
    assert answer.json == {"definitions": [{"process_id": "footage_retrieval", "version": 2}]}
    versions = [found for found in api(owner, "GET", "/definitions").json if found["process_id"] == "footage_retrieval"]
    assert [found["version"] for found in versions] == [1, 2]


def test_what_has_not_changed_makes_no_version(api: Caller, owner: str) -> None:
    answer = api(owner, "POST", "/deployments", **posted(("footage_retrieval.bpmn", DIAGRAM)))
    assert (answer.status_code, answer.json) == (201, {"definitions": []})


def test_all_files_of_one_field_are_deployed(api: Caller, owner: str) -> None:
    """A form with one input for files sends all of them under one name."""
    changed = (ROOT / "bpmn" / "forms" / "vote.form").read_bytes().replace(b'"label": "', b'"label": "2', 1)
    files = posted(("footage_retrieval.bpmn", DIAGRAM), ("forms/vote.form", changed), ("forms/none.form", b"{"))
    answer = api(owner, "POST", "/deployments", **files)
    assert answer.status_code == 422
    assert {problem["file"] for problem in answer.json["problems"]} == {"forms/none.form"}
    files = posted(("footage_retrieval.bpmn", DIAGRAM), ("forms/vote.form", changed))
    assert api(owner, "POST", "/deployments", **files).json["definitions"] != []


def test_the_same_name_twice_is_refused(api: Caller, owner: str) -> None:
    files = posted(("a.bpmn", DIAGRAM), ("a.bpmn", CHANGED))
    assert api.problem(owner, "POST", "/deployments", **files) == (400, "The file a.bpmn was posted twice.")


def test_a_deployment_without_files_is_refused(api: Caller, owner: str) -> None:
    expected = (400, "Post the files as multipart/form-data.")
    assert api.problem(owner, "POST", "/deployments", data={"note": "nothing"}) == expected
    assert api.problem(owner, "POST", "/deployments", json={"files": []}) == expected
    assert api.problem(owner, "POST", "/deployments", data=DIAGRAM, content_type="application/xml") == expected


def test_a_refused_deployment_names_file_line_element_and_rule(api: Caller, owner: str) -> None:
    before = api(owner, "GET", "/definitions").json
    wrong = DIAGRAM.replace(b'id="recorder/coverage"', b'id="recorder/guess"')
    answer = api(owner, "POST", "/deployments", **posted(("footage_retrieval.bpmn", wrong)))
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    (problem,) = [found for found in answer.json["problems"] if found["severity"] == "error"]
    line = next(n for n, text in enumerate(wrong.decode().splitlines(), 1) if 'id="verify_coverage"' in text)
    assert (problem["file"], problem["element"]) == ("footage_retrieval.bpmn", "verify_coverage")
    assert abs(problem["line"] - line) < 10
    assert "recorder/guess" in problem["message"]
    assert api(owner, "GET", "/definitions").json == before


def test_nobody_else_deploys(api: Caller) -> None:
    for user in ("applicant", "head", "reviewer", "operator", "archivist", "member1"):
        files = posted(("footage_retrieval.bpmn", CHANGED))
        assert api.problem(user, "POST", "/deployments", **files) == (403, "Only process owners deploy diagrams.")


# ---- instances ------------------------------------------------------------------------------------------------------


def test_an_instance_begins_with_its_starter_as_applicant(api: Caller, begun: dict[str, Any]) -> None:
    assert (begun["process_id"], begun["version"], begun["state"]) == ("footage_retrieval", 1, "running")
    assert (begun["started_by"], begun["data"]["applicant"]) == ("applicant", "applicant")
    assert api("applicant", "GET", f"/instances/{begun['id']}").json == begun


def test_an_unknown_process_is_not_found(api: Caller) -> None:
    status, detail = api.problem("applicant", "POST", "/instances", json={"process_id": "coffee"})
    assert (status, detail) == (404, "There is no process coffee of that version.")
    status, detail = api.problem("applicant", "POST", "/instances", json={"process_id": "x" * 10_000})
    assert status == 404
    assert len(detail) < 200


BAD_BODIES = {
    "no JSON": (b"{", 400),
    "nothing named": (b"{}", 400),
    "empty": (b"", 400),
    "a list": (b"[]", 400),
    "a number as process": (b'{"process_id": 7}', 400),
    "data that is a list": (b'{"process_id": "footage_retrieval", "data": []}', 400),
    "no UTF-8": (b'{"process_id": "\xff"}', 400),
    "a lone surrogate": (b'{"process_id": "footage_retrieval", "data": {"a": "\\ud800"}}', 400),
    "a NUL": (b'{"process_id": "footage_retrieval", "data": {"a": "\\u0000"}}', 422),
    "an integer too large": (b'{"process_id": "footage_retrieval", "data": {"a": 9007199254740993}}', 422),
    "the forbidden name": (b'{"process_id": "footage_retrieval", "data": {"typename": "x"}}', 422),
    "too deep": (b'{"process_id": "footage_retrieval", "data": {"a": ' + b"[" * 60 + b"]" * 60 + b"}}", 422),
    "far too deep": (b'{"process_id": "footage_retrieval", "data": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", 400),
    "not a number": (b'{"process_id": "footage_retrieval", "data": {"a": NaN}}', 400),
    "more than the engine takes": (b'{"process_id": "footage_retrieval", "data": {"a": "' + b"x" * 2**20 + b'"}}', 413),
    "more than the API takes": (b'{"process_id": "' + b"x" * 8 * 2**20 + b'"}', 413),
}


def test_a_body_that_is_wrong_begins_nothing(api: Caller) -> None:
    answered = {
        name: api.problem("applicant", "POST", "/instances", data=body)[0]
        for name, (body, _status) in BAD_BODIES.items()
    }
    assert answered == {name: status for name, (_body, status) in BAD_BODIES.items()}
    assert 'diaoqu_instances{state="running"}' not in api("head", "GET", "/metrics").text


def test_an_instance_is_hidden_from_those_who_have_no_part_in_it(api: Caller, begun: dict[str, Any]) -> None:
    """And the answer does not tell hidden from missing."""
    for user in ("outsider", "head", "reviewer"):
        for path in ("", "/history", "/verification"):
            hidden, detail = api.problem(user, "GET", f"/instances/{begun['id']}{path}")
            other = uuid4()
            missing, said = api.problem(user, "GET", f"/instances/{other}{path}")
            assert (hidden, missing) == (404, 404)
            assert detail.replace(begun["id"], "X") == said.replace(str(other), "X")
            assert api.problem(user, "GET", f"/instances/rubbish{path}")[0] == 404


def test_the_history_is_the_chain_of_inputs(api: Caller, submitted: dict[str, Any]) -> None:
    events = api("applicant", "GET", f"/instances/{submitted['id']}/history").json
    assert [(event["seq"], event["kind"], event["actor"]) for event in events] == [
        (1, "start", "applicant"),
        (2, "submit", "applicant"),
    ]
    assert events[-1]["digest"] == submitted["head"]
    assert events[0]["payload"]["process"]["version"] == 1
    assert events[1]["lookups"][0]["operator"] == "case/open"
    verdict = api("applicant", "GET", f"/instances/{submitted['id']}/verification").json
    assert (verdict["ok"], verdict["events"], verdict["findings"]) == (True, 2, [])


def test_a_changed_history_does_not_verify(api: Caller, submitted: dict[str, Any], office: Database) -> None:
    with office.transaction() as session:
        session.execute(text("UPDATE history SET payload = replace(payload, 'bicycle', 'motorcar') WHERE seq = 2"))
    verdict = api("applicant", "GET", f"/instances/{submitted['id']}/verification").json
    assert verdict["ok"] is False
    assert verdict["findings"]


# ---- tasks ----------------------------------------------------------------------------------------------------------


def test_the_inbox_is_ones_own_and_an_instance_shows_all_of_its_tasks(api: Caller, submitted: dict[str, Any]) -> None:
    (task,) = api("head", "GET", "/tasks").json
    assert (task["element"], task["assignee"], task["signature"]) == ("sign_application", "head", True)
    assert task["instance_id"] == submitted["id"]
    assert api("head", "GET", f"/tasks/{task['id']}").json == task
    assert api("applicant", "GET", "/tasks").json == []
    assert api("applicant", "GET", f"/tasks?instance={submitted['id']}").json == [task]
    assert api("applicant", "GET", f"/tasks?instance={submitted['id']}&assignee=head").json == [task]
    assert api("applicant", "GET", f"/tasks?instance={submitted['id']}&assignee=reviewer").json == []
    assert api("reviewer", "GET", "/tasks").json == []


def test_tasks_of_an_instance_that_one_may_not_see_are_not_listed(api: Caller, submitted: dict[str, Any]) -> None:
    assert api.problem("outsider", "GET", f"/tasks?instance={submitted['id']}")[0] == 404
    assert api.problem("outsider", "GET", "/tasks?instance=rubbish")[0] == 404


def test_a_task_is_claimed_and_completed(api: Caller, submitted: dict[str, Any]) -> None:
    task = task_of(api, submitted["id"])["id"]
    claimed = api("head", "POST", f"/tasks/{task}/claim").json
    assert (claimed["state"], claimed["claimed_by"]) == ("claimed", "head")
    assert api("head", "POST", f"/tasks/{task}/claim").json == claimed, "taking it twice changes nothing"
    signed = {"data": {"decision": "approve"}, "signature": {"password": PASSWORD}}
    done = api("head", "POST", f"/tasks/{task}/complete", json=signed).json
    assert (done["state"], done["completed_by"]) == ("completed", "head")
    status, detail = api.problem("head", "POST", f"/tasks/{task}/complete", json=signed)
    assert (status, detail.split(",")[0]) == (409, "head has already completed this task")
    assert api.problem("head", "POST", f"/tasks/{task}/claim")[0] == 409


def test_completing_any_task_takes_one_commit_and_at_most_fifteen_statements(
    api: Caller, office: Database, begun: dict[str, Any], form: dict[str, Any]
) -> None:
    signed = {"data": {"decision": "approve"}, "signature": {"password": PASSWORD}}
    checks = dict.fromkeys(("lawful", "legitimate", "minimal", "identity_checked"), True)
    review = {"data": {"decision": "approve", "comment": "lawful and reasonable", **checks}}
    for person, body in (("applicant", {"data": form}), ("head", signed), ("reviewer", review)):
        task = task_of(api, begun["id"])["id"]
        api(person, "GET", "/tasks")  # a first call makes the person's token
        with Watch(office) as seen:
            assert api(person, "POST", f"/tasks/{task}/complete", json=body).json["state"] == "completed"
        assert seen.commits == 1
        makes_key = sum("INSERT INTO personal_keys" in each for each in seen.statements)  # once in a case
        assert len(seen.statements) - makes_key <= 15, "\n".join(seen.statements)
        assert makes_key == (person == "applicant")


def test_a_refused_form_names_every_field(api: Caller, begun: dict[str, Any], form: dict[str, Any]) -> None:
    task = task_of(api, begun["id"])["id"]
    wrong = {**form, "reason": "", "cameras": ["attic"], "phone": "call me"}
    answer = api("applicant", "POST", f"/tasks/{task}/complete", json={"data": wrong})
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert answer.json["fields"] == {
        "reason": "This field is required.",
        "cameras": "attic is not in the list.",
        "phone": "This is not a telephone number.",
    }
    assert answer.json["detail"] == "Please correct the marked fields: cameras, reason, phone."
    chinese = api("applicant", "POST", f"/tasks/{task}/complete", json={"data": wrong}, lang="zh").json
    assert chinese["fields"]["reason"] != "This field is required."
    assert task_of(api, begun["id"])["state"] == "open"


VALUES = (None, 7, True, [], {}, "x" * 20_000, [None], ["gate", 7], {"a": 1})


@pytest.mark.parametrize("field", ["cameras", "start_at", "reason", "purpose", "undertaking", "use_until", "phone"])
def test_a_value_of_any_kind_in_any_field_is_an_error_of_that_field(
    api: Caller, begun: dict[str, Any], form: dict[str, Any], field: str
) -> None:
    task = task_of(api, begun["id"])["id"]
    for value in VALUES:
        if (field, value) != ("undertaking", True):
            answer = api("applicant", "POST", f"/tasks/{task}/complete", json={"data": {**form, field: value}})
            assert (answer.status_code, field in answer.json["fields"]) == (422, True), value


def test_a_completion_that_is_wrong_changes_nothing(api: Caller, submitted: dict[str, Any]) -> None:
    task = task_of(api, submitted["id"])
    bodies = {
        b"": 422,
        b"null": 400,
        b"[]": 400,
        b'{"data": 7}': 400,
        b'{"data": {}, "signature": "x"}': 400,
        b'{"data": {}, "signature": []}': 400,
    }
    address = f"/tasks/{task['id']}/complete"
    assert {body: api.problem("head", "POST", address, data=body)[0] for body in bodies} == bodies
    assert task_of(api, submitted["id"]) == task


def test_a_signature_needs_the_password(api: Caller, submitted: dict[str, Any]) -> None:
    task = task_of(api, submitted["id"])
    for password in ({}, {"password": ""}, {"password": None}, {"password": 7}, {"password": "wrong"}):
        body = {"data": {"decision": "approve"}, "signature": password}
        status, detail = api.problem("head", "POST", f"/tasks/{task['id']}/complete", json=body)
        assert status == 403
        assert ("wrong" if password == {"password": "wrong"} else "must be signed") in detail
    assert task_of(api, submitted["id"]) == task


def test_an_unknown_task_is_not_found(api: Caller) -> None:
    for task in (str(uuid4()), "rubbish", "0" * 2000, "%00", "%F0%9F"):
        for action in ("claim", "complete"):
            status, detail = api.problem("head", "POST", f"/tasks/{task}/{action}", json={"data": {}})
            assert status == 404
            assert len(detail) < 200
        assert api.problem("head", "GET", f"/tasks/{task}")[0] == 404


# ---- messages -------------------------------------------------------------------------------------------------------


def withdrawal(instance: str, **changes: Any) -> dict[str, Any]:
    return {"name": "withdraw", "correlation": {"instance": instance}, "data": {"reason": "found it"}, **changes}


def test_the_applicant_withdraws_with_a_message(api: Caller, submitted: dict[str, Any]) -> None:
    answer = api("applicant", "POST", "/messages", json=withdrawal(submitted["id"]))
    assert (answer.status_code, answer.json) == (202, {"delivered": 1})
    assert api.problem("applicant", "POST", "/messages", json=withdrawal(submitted["id"]))[0] == 409


WRONG_MESSAGES: list[tuple[dict[str, Any], int]] = [
    ({"name": None}, 400),
    ({"name": 7}, 400),
    ({"correlation": None}, 400),
    ({"correlation": {}}, 404),
    ({"correlation": {"number": 7}}, 400),
    ({"correlation": {"business_key": 7}}, 400),
    ({"correlation": {"business_key": "\u0000"}}, 422),
    ({"correlation": {"business_key": "no such case"}}, 404),
    ({"name": ""}, 400),
    ({"name": "x" * 201}, 400),
    ({"correlation": {"instance": 7}}, 404),
    ({"correlation": {"instance": ["x"]}}, 404),
    ({"data": []}, 400),
    ({"data": {}}, 422),
    ({"data": {"reason": 7}}, 422),
    ({"name": "no such message"}, 409),
]


def test_a_message_that_is_wrong_is_not_delivered(api: Caller, submitted: dict[str, Any]) -> None:
    for changes, expected in WRONG_MESSAGES:
        body = withdrawal(submitted["id"], **changes)
        assert api.problem("applicant", "POST", "/messages", json=body)[0] == expected, changes
    assert api("applicant", "GET", f"/instances/{submitted['id']}").json == submitted


def test_only_who_started_it_sends_a_message(api: Caller, submitted: dict[str, Any]) -> None:
    status, detail = api.problem("head", "POST", "/messages", json=withdrawal(submitted["id"]))
    assert (status, detail) == (403, "Only the person who started the case may send it a message.")
    assert api.problem("outsider", "POST", "/messages", json=withdrawal(submitted["id"]))[0] == 404


def test_a_case_is_found_by_its_business_key(api: Caller, submitted: dict[str, Any]) -> None:
    key = submitted["business_key"]
    assert key
    body = withdrawal(submitted["id"], correlation={"business_key": key})
    assert api.problem("outsider", "POST", "/messages", json=body)[0] == 404
    assert api.problem("applicant", "POST", "/messages", json={**body, "data": {}})[0] == 422
    answer = api("applicant", "POST", "/messages", json=body)
    assert (answer.status_code, answer.json) == (202, {"delivered": 1})
    withdrawn = api("applicant", "GET", f"/instances/{submitted['id']}").json["data"]["withdrawal"]
    assert withdrawn == {"reason": "found it"}


LETTERS = """<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="D" targetNamespace="t">
<message id="m" name="letter"/><signal id="sg" name="alarm"/><process id="letters" isExecutable="true">
<startEvent id="by_letter"><messageEventDefinition messageRef="m"/></startEvent>
<startEvent id="by_alarm"><signalEventDefinition signalRef="sg"/></startEvent><endEvent id="e"/>
<sequenceFlow id="f" sourceRef="by_letter" targetRef="e"/><sequenceFlow id="g" sourceRef="by_alarm" targetRef="e"/>
</process></definitions>"""


def test_an_administrators_message_starts_the_process_that_waits_for_it_or_is_kept(
    api: Caller, office: Database, people: Any
) -> None:
    people.add("admin", "admin")
    with office.transaction() as session:
        definitions.deploy(session, {"letters.bpmn": LETTERS}, by="owner")
    letter = {"name": "letter", "correlation": {"business_key": "L-1"}, "data": {"text": "hello"}}
    assert api.problem("applicant", "POST", "/messages", json=letter)[0] == 404
    started = api("admin", "POST", "/messages", json=letter).json
    assert started["delivered"] == 1
    instance = api("admin", "GET", f"/instances/{started['instance']}").json
    assert (instance["process_id"], instance["business_key"], instance["started_by"]) == ("letters", "L-1", "admin")
    kept = api("admin", "POST", "/messages", json={**letter, "name": "another"}).json
    assert (kept["delivered"], kept["instance"]) == (0, None)


def test_a_signal_goes_to_all_that_listen(api: Caller, office: Database, people: Any) -> None:
    people.add("admin", "admin")
    with office.transaction() as session:
        definitions.deploy(session, {"letters.bpmn": LETTERS}, by="owner")
    assert api.problem("applicant", "POST", "/signals", json={"name": "alarm"})[0] == 403
    assert api.problem("admin", "POST", "/signals", json={"name": 7})[0] == 400
    answers = [api("admin", "POST", "/signals", json={"name": name}) for name in ("alarm", "nobody listens")]
    assert [answer.json for answer in answers] == [{"listening": 1}, {"listening": 0}]


# ---- surprises ------------------------------------------------------------------------------------------------------


def test_what_nobody_foresaw_is_a_reference_and_no_trace(
    api: Caller, submitted: dict[str, Any], office: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The table of the history is gone."""
    with office.transaction() as session:
        session.execute(text("ALTER TABLE history RENAME TO lost"))
    try:
        answer = api.client.get(
            f"/api/v1/instances/{submitted['id']}/history",
            headers={"Authorization": f"Bearer {api.tokens['applicant']}"},
        )
    finally:
        with office.transaction() as session:
            session.execute(text("ALTER TABLE lost RENAME TO history"))
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert re.fullmatch(r"[0-9A-F]{8}", answer.json["reference"])
    assert answer.json["reference"] in caplog.text
    assert "history" not in answer.text
    assert "Traceback" not in answer.text
