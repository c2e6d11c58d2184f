"""Recorders that are switched off or refuse, and jobs that stop: the error path, the operator's task, incidents.

The recorder is a process that is really killed and started again at the same address.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from holdings import held, pictures, report_of, tree
from premises import PASSWORD, Premises, RecorderProcess, of_this_morning
from processes import eventually
from visitors import Browser

from web import seed
from web.demo import ANSWERS

READY = {"decision": "ready", "equipment_ready": True}
WRONG = "not the recorder's password"


@pytest.fixture(autouse=True)
def as_before(service: Premises, recorder: RecorderProcess) -> Iterator[None]:
    """Afterwards the recorder is on and knows its password again."""
    recorder.start()
    yield
    recorder.start()
    register(service, PASSWORD)


def register(service: Premises, password: str) -> None:
    with service.writing() as session:
        seed.cameras(session, service.settings, url=service.recorder.url, username="viewer", password=password)


def reviewed(service: Premises, *cameras: str, minutes: float = 0.5) -> str:
    """A request that the reviewer has just let pass: the recorder is asked next."""
    instance = service.apply(list(cameras or ("gate",)), *of_this_morning(minutes, seconds=3.47))
    for element in ("sign_application", "review_request"):
        _who, answer = ANSWERS[element]
        service.submit(instance, element, answer(None, {}))  # type: ignore[arg-type]  # these need no walk
    return instance


def page_of(browser: Browser, service: Premises, instance: str, element: str, lang: str) -> str:
    return browser.get("operator", f"/tasks/{service.task(instance, element)['id']}", lang=lang).text


def notices(browser: Browser, user: str) -> str:
    return browser.get(user, "/notices").text


# ---- asking the recorder --------------------------------------------------------------------------------------------


def test_an_unreachable_recorder_becomes_the_operators_task_and_is_tried_again(
    service: Premises, browser: Browser, recorder: RecorderProcess
) -> None:
    recorder.stop()
    instance = reviewed(service)
    service.wait_for(instance, "handle_recorder_fault")
    job = service.job(instance, "verify_coverage")
    assert job is not None
    assert (job.state, job.attempts) == ("failed", 3), "a cable or a reboot takes a moment"
    assert "coverage" not in service.instance(instance)["data"]
    english = page_of(browser, service, instance, "handle_recorder_fault", "en")
    assert "1号录像机" in english, "the recorder is called by its name"
    assert "The recorder cannot be reached" in english
    assert "录像机无法连接</h2>" in page_of(browser, service, instance, "handle_recorder_fault", "zh")
    recorder.start()
    service.submit(instance, "handle_recorder_fault", {"decision": "retry"}, by="operator")
    service.wait_for(instance, "vote_committee")
    assert service.instance(instance)["data"]["coverage"]["status"] == "complete"


def test_a_wrong_password_of_the_recorder_is_said_at_once_and_told_to_nobody(
    service: Premises, browser: Browser
) -> None:
    register(service, WRONG)
    instance = reviewed(service)
    service.wait_for(instance, "handle_recorder_fault")
    job = service.job(instance, "verify_coverage")
    assert job is not None
    assert (job.state, job.attempts) == ("failed", 1), "trying again would lock the account on the recorder"
    refusals = {
        "en": "1号录像机: The recorder does not accept the user name or the password.",
        "zh": "1号录像机：录像机不接受该用户名或密码。",
    }
    for lang, refusal in refusals.items():
        page = page_of(browser, service, instance, "handle_recorder_fault", lang)
        assert refusal in page
        assert WRONG not in page
    assert "录像机拒绝" in page_of(browser, service, instance, "handle_recorder_fault", "zh")
    assert WRONG not in service.call("auditor", "GET", f"/instances/{instance}/history").text
    assert WRONG not in (service.folder / "worker.log").read_text()
    given_up = {"decision": "give_up", "comment": "口令已失效，无法取得"}
    service.submit(instance, "handle_recorder_fault", given_up, by="operator")
    ended = service.lead(instance)
    assert ended["recorder_fault"]["comment"] == given_up["comment"]
    assert service.ask("auditor", "GET", f"/instances/{instance}/verification")["ok"] is True
    assert ended["case"]["number"] in notices(browser, "applicant")


# ---- copying from it ------------------------------------------------------------------------------------------------


@pytest.fixture
def ready(service: Premises) -> Callable[..., str]:
    """A request that only waits for the operator to say that everything is ready."""

    def make(*cameras: str, minutes: float = 0.5) -> str:
        instance = reviewed(service, *cameras, minutes=minutes)
        service.lead(instance, to="confirm_readiness")
        return instance

    return make


def test_the_pre_flight_says_that_the_recorder_is_gone(
    service: Premises, browser: Browser, recorder: RecorderProcess, ready: Callable[..., str]
) -> None:
    instance = ready()
    recorder.stop()
    service.submit(instance, "confirm_readiness", {"decision": "recheck", "comment": "再查一次"}, by="operator")
    service.wait_for(instance, "confirm_readiness")
    preflight = service.instance(instance)["data"]["preflight"]
    assert preflight["ready"] is False
    assert [check["ok"] for check in preflight["checks"] if check["camera"] == "gate"] == [False]
    recorder.start()
    service.submit(instance, "confirm_readiness", {"decision": "recheck", "comment": "再查一次"}, by="operator")
    service.wait_for(instance, "confirm_readiness")
    assert service.instance(instance)["data"]["preflight"]["ready"] is True


def test_a_recorder_that_stays_away_costs_its_cameras_and_nothing_else(
    service: Premises, browser: Browser, recorder: RecorderProcess, ready: Callable[..., str]
) -> None:
    """Of two cameras one is tried again when the recorder is back, the other is skipped with a reason."""
    instance = ready("gate", "garage")
    recorder.stop()
    service.submit(instance, "confirm_readiness", READY, by="operator")
    faults = eventually(lambda: two_faults(service, instance), "both cameras have failed", seconds=90, every=0.2)
    number = service.instance(instance)["data"]["case"]["number"]
    assert not [path for path in (service.folder / "cases" / number).rglob("*") if path.is_file()]
    assert "The recorder cannot be reached" in browser.get("operator", f"/tasks/{faults[0]['id']}").text
    recorder.start()
    skip = {"decision": "skip", "comment": "不影响取证"}
    service.ask("operator", "POST", f"/tasks/{faults[0]['id']}/complete", {"data": skip})
    service.ask("operator", "POST", f"/tasks/{faults[1]['id']}/complete", {"data": {"decision": "retry"}})
    service.wait_for(instance, "check_playback")
    found = service.instance(instance)["data"]["acquisitions"]
    assert sorted(bool(one.get("skipped")) for one in found) == [False, True]
    masters = [path for path in tree(service.folder / "cases" / number) if path.startswith("masters/")]
    assert len(masters) == 1


def two_faults(service: Premises, instance: str) -> list[dict[str, Any]]:
    found = [task for task in service.open_tasks(instance) if task["element"] == "handle_camera_fault"]
    return found if len(found) == 2 else []


def test_a_recorder_that_loses_power_in_the_middle_delivers_the_rest_later(
    service: Premises, recorder: RecorderProcess, recorder_media: Path, ready: Callable[..., str]
) -> None:
    instance = ready("gate", minutes=12)
    before = set((service.folder / "scratch").rglob("*.mkv*"))
    service.submit(instance, "confirm_readiness", READY, by="operator")

    def halfway() -> bool:
        job = service.job(instance, "acquire_footage")
        assert job is None or job.state in {"ready", "running"}, f"too late: {job.state}"
        mine = set((service.folder / "scratch").rglob("*.mkv*")) - before
        return sum(path.stat().st_size for path in mine) > 500_000

    eventually(halfway, "the retrieval is in the middle", every=0.01)
    recorder.stop()
    recorder.start()
    bag = Path(service.lead(instance)["archive"]["path"])
    report = report_of(bag, "gate")
    with_lead_in, _asked_for = held(recorder_media, "gate", report)
    (master,) = (bag / "data" / "footage").glob("gate-*.mkv")
    assert pictures(master, "H264") == [frame.digest for frame in with_lead_in]
    assert (report["complete"], report["gaps"]) == (True, [])


# ---- incidents ------------------------------------------------------------------------------------------------------

UNCAUGHT = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
  xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core" id="uncaught" targetNamespace="urn:test">
  <process id="ask_once" name="只问一次" isExecutable="true">
    <startEvent id="begin"><outgoing>to_ask</outgoing></startEvent>
    <sequenceFlow id="to_ask" sourceRef="begin" targetRef="ask"/>
    <serviceTask id="ask" name="询问录像机">
      <extensionElements>
        <spiffworkflow:serviceTaskOperator id="recorder/coverage" resultVariable="coverage">
          <spiffworkflow:parameters>
            <spiffworkflow:parameter id="cameras" type="list" value="[camera]"/>
            <spiffworkflow:parameter id="start_at" type="str" value="start_at"/>
            <spiffworkflow:parameter id="end_at" type="str" value="end_at"/>
          </spiffworkflow:parameters>
        </spiffworkflow:serviceTaskOperator>
      </extensionElements>
      <incoming>to_ask</incoming><outgoing>to_end</outgoing>
    </serviceTask>
    <sequenceFlow id="to_end" sourceRef="ask" targetRef="finish"/>
    <endEvent id="finish"><incoming>to_end</incoming></endEvent>
  </process>
</definitions>
"""


@pytest.fixture
def stopped(service: Premises) -> tuple[str, Any]:
    """A process that asks for a camera that nobody knows and catches no error: its instance and its job."""
    files = {"files": ("ask_once.bpmn", UNCAUGHT.encode())}
    deployed = service.call("owner", "POST", "/deployments", files=files)
    assert deployed.status == 201, deployed
    start, end = (at.isoformat() for at in of_this_morning(1))
    data = {"camera": "attic", "start_at": start, "end_at": end}
    begun = service.ask("owner", "POST", "/instances", {"process_id": "ask_once", "data": data})["id"]

    def incident() -> Any:
        job = service.job(begun, "ask")
        return job if job is not None and job.state == "incident" else None

    return begun, eventually(incident, "the job stops as an incident")


def test_an_error_that_nobody_catches_is_an_incident_that_operations_resolve(
    service: Premises, browser: Browser, stopped: tuple[str, Any]
) -> None:
    instance, job = stopped
    page = browser.get("operator", "/operations/").text
    assert "attic" in page
    assert f"/operations/jobs/{job.id}/retry" in page
    assert service.instance(instance)["state"] == "running", "nothing is lost while it waits"
    params = dict(job.params)
    corrected = {"params": json.dumps({**params, "cameras": ["gate"]})}
    answer = browser.post("operator", f"/operations/jobs/{job.id}/retry", corrected)
    assert answer.status == 302, answer.text
    eventually(lambda: service.instance(instance)["state"] == "completed", "the process goes on")
    assert service.instance(instance)["data"]["coverage"]["status"] == "complete"
    assert service.ask("auditor", "GET", f"/instances/{instance}/verification")["ok"] is True
    kinds = [event["kind"] for event in service.ask("auditor", "GET", f"/instances/{instance}/history")]
    assert kinds == ["start", "incident", "retry_job", "result"]
    again = browser.post("operator", f"/operations/jobs/{job.id}/retry", {})
    assert again.status == 409


@pytest.mark.parametrize(
    ("params", "said"),
    [("{", "This is not JSON"), ("[]", "Parameters are a JSON object."), ('{"cameras": 7}', ""), ("{}", "")],
)
def test_wrong_parameters_leave_the_incident_as_it_is(
    service: Premises, browser: Browser, stopped: tuple[str, Any], params: str, said: str
) -> None:
    instance, job = stopped
    answer = browser.post("operator", f"/operations/jobs/{job.id}/retry", {"params": params})
    assert answer.status == 422
    assert said in answer.text
    found = service.job(instance, "ask")
    assert found is not None
    assert (found.state, found.params, found.attempts) == (job.state, job.params, job.attempts)


def test_only_operations_resolve_incidents(service: Premises, browser: Browser, stopped: tuple[str, Any]) -> None:
    _instance, job = stopped
    for user in ("applicant", "auditor", "owner"):
        assert browser.post(user, f"/operations/jobs/{job.id}/retry", {}).status == 403
        assert browser.post(user, f"/operations/jobs/{job.id}/cancel", {"reason": "x"}).status == 403
    assert browser.post("operator", f"/operations/jobs/{uuid4()}/retry", {}).status == 404


def test_giving_up_a_job_whose_error_nobody_catches_changes_nothing(
    service: Premises, browser: Browser, stopped: tuple[str, Any]
) -> None:
    instance, job = stopped
    assert browser.post("operator", f"/operations/jobs/{job.id}/cancel", {"reason": ""}).status == 422
    answer = browser.post("operator", f"/operations/jobs/{job.id}/cancel", {"reason": "hopeless"})
    assert answer.status == 409
    found = service.job(instance, "ask")
    assert found is not None
    assert (found.state, service.instance(instance)["state"]) == ("incident", "running")
