"""REST for operators: every act needs the role and a reason, says who was faster, and shows no more than it may."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from procedure import House
from test_api import Caller

from engine import definitions, history, instances, jobs, messages, replay, tasks
from engine.db import Database
from engine.models import Job
from web import create_app


@pytest.fixture
def api(site: Flask, office: Database, people: Any) -> Caller:
    people.add("admin", "employee", "admin")
    people.add("auditor", "employee", "auditor")
    return Caller(site, office)


@pytest.fixture
def begun(api: Caller) -> dict[str, Any]:
    return dict(api("applicant", "POST", "/instances", json={"process_id": "footage_retrieval", "data": {}}).json)


def kinds(database: Database, instance: str) -> list[str]:
    with database.reading() as session:
        return [event.kind for event in history.events(session, instances.identifier(instance))]


def verified(database: Database, instance: str) -> bool:
    with database.reading() as session:
        return replay.verify(session, instances.identifier(instance)).ok


WHY = {"reason": "the police asked for it"}
FILLED = {"application": {"by": "applicant"}, "head_decision": {"by": "head"}}
ACTS = {
    "suspend": WHY,
    "resume": WHY,
    "cancel": WHY,
    "modify": {**WHY, "set": {"x": 1}},
    "preview": {**WHY, "set": {"x": 1}},
    "restart": {**WHY, "element": "fill_application"},
    "migrate": {**WHY, "version": 1},
}


@pytest.mark.parametrize("act", sorted(ACTS))
def test_an_act_needs_the_role_and_a_case_that_one_may_know_of(api: Caller, begun: dict[str, Any], act: str) -> None:
    address = f"/instances/{begun['id']}/{act}"
    assert api.problem("outsider", "POST", address, json=ACTS[act])[0] == 404
    assert api.problem("applicant", "POST", address, json=ACTS[act])[0] == 403
    assert api.problem("auditor", "POST", address, json=ACTS[act])[0] == 403
    if act not in ("suspend", "resume"):
        assert api.problem("operator", "POST", address, json=ACTS[act])[0] == 403
    for wrong in (f"/instances/{uuid4()}/{act}", f"/instances/rubbish/{act}"):
        assert api.problem("admin", "POST", wrong, json=ACTS[act])[0] == 404
    assert api.problem("admin", "POST", address, json={})[0] == 400
    if act != "resume":
        assert api.problem("admin", "POST", address, json={**ACTS[act], "reason": " "})[0] == 422
    assert api("applicant", "GET", f"/instances/{begun['id']}").json == begun


def test_nobody_operates_their_own_request(api: Caller) -> None:
    own = api("admin", "POST", "/instances", json={"process_id": "footage_retrieval", "data": {}}).json
    for act, posted in ACTS.items():
        assert api.problem("admin", "POST", f"/instances/{own['id']}/{act}", json=posted)[0] == 403


def test_an_operator_suspends_and_resumes_without_seeing_the_data(
    api: Caller, begun: dict[str, Any], office: Database
) -> None:
    suspended = api("operator", "POST", f"/instances/{begun['id']}/suspend", json=WHY).json
    assert (suspended["state"], "data" in suspended) == ("suspended", False)
    task = api("applicant", "GET", f"/tasks?instance={begun['id']}").json[0]
    for path in (f"/tasks/{task['id']}/claim", f"/tasks/{task['id']}/complete"):
        status, detail = api.problem("applicant", "POST", path, json={"data": {}})
        assert status == 409
        assert "operator has suspended this case, at 2026-" in detail
        assert detail.endswith("the police asked for it")
    assert api.problem("admin", "POST", f"/instances/{begun['id']}/suspend", json=WHY)[0] == 409
    assert api("admin", "POST", f"/instances/{begun['id']}/resume", json=WHY).json["state"] == "running"
    assert kinds(office, begun["id"]) == ["start", "suspend", "resume"]
    assert verified(office, begun["id"])


def test_an_instance_is_cancelled_with_its_reason(api: Caller, begun: dict[str, Any], office: Database) -> None:
    assert api("admin", "POST", f"/instances/{begun['id']}/cancel", json=WHY).json["state"] == "cancelled"
    assert api.problem("admin", "POST", f"/instances/{begun['id']}/cancel", json=WHY)[0] == 409
    last = api("admin", "GET", f"/instances/{begun['id']}/history").json[-1]
    assert (last["kind"], last["payload"]) == ("cancel", WHY)


def test_an_instance_goes_over_to_another_version_after_a_look_at_what_it_would_meet(
    api: Caller, begun: dict[str, Any], office: Database, people: Any
) -> None:
    people.add("owner", "employee", "owner")
    with office.transaction() as session:
        files = definitions.current_files(session)
        main = files["footage_retrieval.bpmn"].replace('name="初审（合法、合理）"', 'name="初审与核对"')
        definitions.deploy(session, {"footage_retrieval.bpmn": main}, by="owner", note="another name")
    address = f"/instances/{begun['id']}/migrate"
    verdict = api("owner", "POST", address, json={"version": 2, "preview": True}).json
    assert (verdict["possible"], verdict["from"], verdict["to"]) == (True, 1, 2)
    assert verdict["active"] == ["fill_application"]
    assert kinds(office, begun["id"]) == ["start"]
    assert api("owner", "POST", address, json={"version": 2, **WHY}).json["version"] == 2
    assert api.problem("owner", "POST", address, json={"version": 2, **WHY})[0] == 409
    same = api("owner", "POST", address, json={"version": 2, "preview": True}).json
    assert [reason["code"] for reason in same["refused"]] == ["same-version"]
    for wrong, status in (({"version": "2"}, 400), ({"version": 9, **WHY}, 404), ({"version": 1}, 400)):
        assert api.problem("owner", "POST", address, json=wrong)[0] == status
    assert api("owner", "POST", address, json={"version": 1, **WHY}).json["version"] == 1
    assert kinds(office, begun["id"]) == ["start", "migrate", "migrate"]
    assert verified(office, begun["id"])


def test_a_token_is_moved_after_a_look_at_what_would_follow(
    api: Caller, begun: dict[str, Any], office: Database
) -> None:
    change = {**WHY, "cancel": ["fill_application"], "start": ["review_request"], "set": FILLED}
    seen = api("admin", "POST", f"/instances/{begun['id']}/preview", json=change).json
    assert (seen["active"]["review_request"], seen["opens"]) == (1, ["review_request"])
    assert kinds(office, begun["id"]) == ["start"]
    assert api("admin", "POST", f"/instances/{begun['id']}/modify", json=change).json["seq"] == 2
    tasks_now = [task["element"] for task in api("admin", "GET", f"/tasks?instance={begun['id']}").json]
    assert tasks_now == ["review_request"]
    for wrong, status in (({"cancel": ["nobody"]}, 409), ({"cancel": "x"}, 400), ({"set": []}, 400), ({}, 409)):
        for act in ("modify", "preview"):
            answer = api.problem("admin", "POST", f"/instances/{begun['id']}/{act}", json={**WHY, **wrong})
            assert answer[0] == status, wrong
    assert verified(office, begun["id"])


def test_an_instance_is_restarted_and_says_where_it_comes_from(
    api: Caller, begun: dict[str, Any], office: Database
) -> None:
    address = f"/instances/{begun['id']}/restart"
    answer = api("admin", "POST", address, json={**WHY, "element": "fill_application", "version": "newest"})
    assert answer.status_code == 201
    assert (answer.json["restarted_from"], answer.json["started_by"]) == (begun["id"], "applicant")
    assert kinds(office, begun["id"]) == ["start", "restarted"]
    assert verified(office, answer.json["id"])
    for wrong, status in (
        ({"version": "latest"}, 400),
        ({"version": 99}, 404),
        ({"until": 7}, 409),
        ({"until": "x"}, 400),
    ):
        posted = {**WHY, "element": "fill_application", **wrong}
        assert api.problem("admin", "POST", address, json=posted)[0] == status, wrong


def test_instances_are_found_by_what_an_operator_knows(api: Caller, begun: dict[str, Any]) -> None:
    other = api("head", "POST", "/instances", json={"process_id": "footage_retrieval", "data": {}}).json
    api("admin", "POST", f"/instances/{other['id']}/cancel", json=WHY)

    def found(query: str) -> list[str]:
        return [one["id"] for one in api("operator", "GET", f"/instances?{query}").json]

    assert found("") == [begun["id"], other["id"]] or found("") == [other["id"], begun["id"]]
    assert found("state=running") == found("element=fill_application") == found(f"key={begun['id']}") == [begun["id"]]
    assert found("state=cancelled&process=footage_retrieval&version=1") == [other["id"]]
    assert found("incident=1") == found("version=2") == found("key=nothing") == found("page=2") == []
    (one,) = api("auditor", "GET", "/instances?state=running").json
    assert (one["elements"], one["incidents"], "data" in one) == (["fill_application"], 0, False)
    assert api.problem("applicant", "GET", "/instances")[0] == 403


def revised(office: Database) -> int:
    """A second version of the procedure, in which a task is called otherwise."""
    with office.transaction() as session:
        files = dict(definitions.current_files(session))
        main = files["footage_retrieval.bpmn"].replace('name="初审（合法、合理）"', 'name="初审与核对"')
        new = definitions.deploy(session, {"footage_retrieval.bpmn": main}, by="owner", note="revised")
    return next(found.version for found in new if found.process_id == "footage_retrieval")


def test_many_instances_go_over_at_once_and_each_that_stays_says_why(
    api: Caller, begun: dict[str, Any], office: Database
) -> None:
    second = api("head", "POST", "/instances", json={"process_id": "footage_retrieval", "data": {}}).json
    own = api("admin", "POST", "/instances", json={"process_id": "footage_retrieval", "data": {}}).json
    ended = api("head", "POST", "/instances", json={"process_id": "footage_retrieval", "data": {}}).json
    api("admin", "POST", f"/instances/{ended['id']}/cancel", json=WHY)
    asked = {"process_id": "footage_retrieval", "version": revised(office)}
    seen = api("admin", "POST", "/migrations", json={**asked, "from": 1, "preview": True}).json
    assert {one["id"]: one["verdict"]["possible"] for one in seen} == {
        begun["id"]: True,
        second["id"]: True,
        own["id"]: True,
    }
    assert ["your own request" in one["refusal"] for one in seen] == [one["id"] == own["id"] for one in seen]
    assert not any(one["migrated"] for one in seen)
    assert api("admin", "GET", f"/instances/{begun['id']}").json["version"] == 1, "a preview changes nothing"
    missing = str(uuid4())
    ids = [begun["id"], ended["id"], own["id"], missing, "rubbish", second["id"], begun["id"]]
    done = api("admin", "POST", "/migrations", json={**asked, **WHY, "ids": ids}).json
    assert [one["id"] for one in done] == ids[:-1]
    assert [one["migrated"] for one in done] == [True, False, False, False, False, True]
    for one, words in zip(done[1:5], ("has ended", "your own request", "no case", "no case"), strict=True):
        assert words in one["refusal"]
    assert {one["verdict"] for one in done} == {None}
    for one in (begun, second):
        assert api("admin", "GET", f"/instances/{one['id']}").json["version"] == asked["version"]
        assert verified(office, one["id"])


def test_taking_many_over_needs_the_role_a_version_a_choice_and_a_reason(
    api: Caller, begun: dict[str, Any], people: Any, office: Database
) -> None:
    people.add("owner", "employee", "owner")
    asked = {**WHY, "process_id": "footage_retrieval", "version": revised(office), "ids": [begun["id"]]}
    for username in ("applicant", "operator", "auditor"):
        assert api.problem(username, "POST", "/migrations", json=asked)[0] == 403
    for wrong, status in (
        ({"process_id": "nothing"}, 404),
        ({"version": 99}, 404),
        ({"version": "1"}, 400),
        ({"ids": None}, 400),
        ({"ids": [1]}, 400),
        ({"ids": [begun["id"]] * 101}, 400),
        ({"reason": " "}, 422),
        ({"reason": None}, 400),
    ):
        assert api.problem("owner", "POST", "/migrations", json={**asked, **wrong})[0] == status, wrong
    assert kinds(office, begun["id"]) == ["start"]
    (done,) = api("owner", "POST", "/migrations", json=asked).json
    assert (done["migrated"], done["refusal"]) == (True, "")
    assert kinds(office, begun["id"]) == ["start", "migrate"]


# ---- tasks


def test_a_task_is_passed_on_given_and_rescheduled(api: Caller, begun: dict[str, Any], people: Any, clock: Any) -> None:
    change = {**WHY, "cancel": ["fill_application"], "start": ["review_request"], "set": FILLED}
    api("admin", "POST", f"/instances/{begun['id']}/modify", json=change)
    (task,) = api("admin", "GET", f"/tasks?instance={begun['id']}").json
    address = f"/tasks/{task['id']}"
    given = api("reviewer", "POST", f"{address}/delegate", json={**WHY, "to": "second"}).json
    assert (given["assignee"], given["owner"]) == ("second", "reviewer")
    assert api.problem("second", "POST", f"{address}/delegate", json={**WHY, "to": "operator"})[0] == 403
    assert api.problem("second", "POST", f"{address}/assign", json={**WHY, "to": "reviewer"})[0] == 403
    assert api.problem("second", "POST", f"{address}/delegate", json={"to": "reviewer"})[0] == 400
    back = api("admin", "POST", f"{address}/assign", json={**WHY, "to": ""}).json
    assert (back["assignee"], back["owner"]) == (None, None)
    due = (clock.at + timedelta(days=4)).isoformat()
    changed = api("admin", "POST", f"{address}/change", json={**WHY, "priority": 90, "due_at": due}).json
    assert (changed["priority"], changed["due_at"]) == (90, due)
    for wrong, status in (({"due_at": "soon"}, 400), ({"due_at": "2026-02-02T00:00"}, 400), ({"priority": "x"}, 422)):
        assert api.problem("admin", "POST", f"{address}/change", json={**WHY, **wrong})[0] == status
    assert api("reviewer", "POST", f"{address}/claim").status_code == 200
    assert api("reviewer", "POST", f"{address}/unclaim").json["state"] == "open"


# ---- jobs


class RefusedError(Exception):
    permanent = True


@pytest.fixture
def stopped(evening: House, people: Any) -> tuple[Caller, House, Job]:
    """A request whose pre-flight check has become an incident."""
    instance = evening.request("garage", to="vote_committee")
    for name in ("member1", "member2"):
        evening.submit(instance, "vote_committee", {"decision": "approve"}, by=name)
    claimed = jobs.claim(evening.database, owner="tests", site="main")
    assert claimed is not None
    jobs.fail(evening.database, claimed, RefusedError("401"))
    with evening.database.reading() as session:
        site = create_app(evening.settings, evening.database)
        return Caller(site, evening.database), evening, jobs.get(session, claimed.id)


def test_jobs_are_seen_retried_and_given_up(stopped: tuple[Caller, House, Job]) -> None:
    api, _house, job = stopped
    (listed,) = api("operator", "GET", "/jobs").json
    assert (listed["id"], listed["state"]) == (str(job.id), "incident")
    assert listed in api("admin", "GET", f"/jobs?instance={job.instance_id}").json
    assert api.problem("applicant", "GET", "/jobs")[0] == 403
    assert api.problem("applicant", "POST", f"/jobs/{job.id}/retry", json={})[0] == 403
    assert api.problem("operator", "POST", f"/jobs/{uuid4()}/retry", json={})[0] == 404
    assert api.problem("operator", "POST", f"/jobs/{job.id}/retry", json={"params": {"cameras": 7}})[0] == 422
    assert api.problem("operator", "POST", f"/jobs/{job.id}/cancel", json={})[0] == 422
    assert api.problem("operator", "POST", f"/jobs/{job.id}/cancel", json=WHY)[0] == 409
    assert api("operator", "POST", f"/jobs/{job.id}/retry", json={}).json["state"] == "ready"
    assert api.problem("operator", "POST", f"/jobs/{job.id}/retry", json={})[0] == 409
    assert [task.element for task in _open(stopped)] == []


def _open(stopped: tuple[Caller, House, Job]) -> list[Any]:
    _api, house, job = stopped
    with house.database.reading() as session:
        return [task for task in tasks.of_instance(session, job.instance_id) if task.state == "open"]


# ---- messages without receiver --------------------------------------------------------------------------------------


@pytest.fixture
def lying(begun: dict[str, Any], office: Database) -> str:
    """The id of a message that an instance has thrown and nobody waits for."""
    with office.transaction() as session:
        sent = messages.send(session, "parcel", {}, by="system")
        sent.sender_id, sent.sender_seq = instances.identifier(begun["id"]), 1
        return str(sent.id)


def test_undelivered_messages_are_listed_without_their_contents(api: Caller, lying: str) -> None:
    (found,) = api("auditor", "GET", "/messages").json
    assert (found["id"], found["name"], found["state"], "payload" in found) == (lying, "parcel", "waiting", False)
    assert api.problem("applicant", "GET", "/messages")[0] == 403


def test_a_message_is_discarded_over_rest_by_whoever_may(
    api: Caller, begun: dict[str, Any], lying: str, office: Database
) -> None:
    address = f"/messages/{lying}/discard"
    assert api.problem("auditor", "POST", address, json=WHY)[0] == 403
    assert api.problem("applicant", "POST", address, json=WHY)[0] == 403
    assert api.problem("operator", "POST", address, json={})[0] == 400
    assert api.problem("operator", "POST", address, json={"reason": " "})[0] == 422
    assert api.problem("operator", "POST", f"/messages/{uuid4()}/discard", json=WHY)[0] == 404
    ended = api("operator", "POST", address, json=WHY).json
    assert (ended["state"], ended["ended_by"], ended["reason"]) == ("discarded", "operator", WHY["reason"])
    assert kinds(office, begun["id"])[-1] == "discard_message"
    assert api("operator", "GET", "/messages").json == []
    assert api("operator", "GET", "/messages?state=discarded").json == [ended]
    assert api.problem("operator", "POST", f"/messages/{lying}/deliver", json=WHY)[0] == 409
    assert verified(office, begun["id"])


def test_a_delivery_that_is_refused_says_why(api: Caller, lying: str) -> None:
    status, problem = api.problem("operator", "POST", f"/messages/{lying}/deliver", json=WHY)[:2]
    assert (status, "Nobody waits for the message parcel" in str(problem)) == (409, True)
