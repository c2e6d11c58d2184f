"""`make demo`: starts a simulated recorder, web and worker, and walks requests through the whole procedure over HTTP.

Three requests: one from application to archived bag, one that the committee refuses, one that finds only part of the
footage. Everything happens through the REST API with the demo accounts' own tokens; nothing reaches into the database
but the seeding of accounts and cameras before the first request.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from device.evidence import verify_bag
from device.simulator import CAMERAS, LOCAL_TIME, prepare_media
from engine import clock, identity
from engine.db import Database
from engine.errors import N_, ConflictError, DiaoquError
from engine.settings import Settings
from web import seed
from web.setup import MAIN_PROCESS, deploy_procedure, make_secret

Answer = Callable[["Walk", dict[str, Any]], dict[str, Any]]
RECORDER_USER = "admin"
PATIENCE = 240
"""Seconds that any one wait of the demo may take."""


class DemoFailedError(DiaoquError):
    """The demo did not come to its end."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """The demo's processes: they share its data folder and end together."""

    data: Path
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> None:
        log = (self.data / f"{arguments[0]}.log").open("ab")
        command = [sys.executable, "-m", "web.cli", *arguments]
        environment = {**os.environ, "DIAOQU_DATA": str(self.data)}
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
        log.close()

    def check(self) -> None:
        for process in self.processes:
            if process.poll() is not None:
                raise DemoFailedError(
                    N_("%(command)s ended: look into the logs in %(data)s."),
                    command=str(process.args[3]),  # type: ignore[index]  # always the list that start() made
                    data=str(self.data),
                )

    def wait_until_up(self, url: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.check()
            try:
                requests.get(url, timeout=2)
                return
            except requests.RequestException:
                time.sleep(0.1)
        raise DemoFailedError(N_("%(url)s does not answer."), url=url)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Walk:
    """One request on its way, driven over HTTP; `answers` says who does what at which user task."""

    service: Service
    tokens: Mapping[str, str]
    title: str
    application: dict[str, Any]
    answers: Mapping[str, tuple[str, Answer]]
    instance: str = ""
    steps: int = 0

    def call(self, user: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        response = requests.request(
            method,
            f"{self.service.url}/api/v1{path}",
            json=body,
            timeout=60,
            headers={"Authorization": f"Bearer {self.tokens[user]}"},
        )
        if response.status_code >= 400:
            raise DemoFailedError(
                N_("%(method)s %(path)s answered %(status)s: %(text)s"),
                method=method,
                path=path,
                status=response.status_code,
                text=response.text[:2000],
            )
        return response.json()

    def say(self, who: str, what: str) -> None:
        self.steps += 1
        print(f"  {self.steps:>2}. {who:<10} {what}", flush=True)

    def run(self) -> dict[str, Any]:
        """Start the request and answer every user task until the process ends; returns its final data."""
        print(f"\n{self.title}", flush=True)
        self.instance = self.call("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}})["id"]
        deadline = time.monotonic() + PATIENCE
        shown: set[str] = set()
        while time.monotonic() < deadline:
            self.service.check()
            state = self.call("auditor", "GET", f"/instances/{self.instance}")
            for line in milestones(state["data"]):
                if line not in shown:
                    shown.add(line)
                    self.say("系统 system", line)
            if state["state"] != "running":
                print(f"      → {state['state']} ({MAIN_PROCESS} {self.instance})", flush=True)
                return dict(state["data"])
            tasks = self.call("auditor", "GET", f"/tasks?instance={self.instance}")
            if not tasks:
                time.sleep(0.15)
                continue
            self.answer(tasks[0], state["data"])  # one at a time: an answer may end the others (a certain vote)
            deadline = time.monotonic() + PATIENCE
        raise DemoFailedError(N_("The request is stuck; see %(url)s/operations."), url=self.service.url)

    def answer(self, task: dict[str, Any], data: dict[str, Any]) -> None:
        try:
            user, fill = self.answers[task["element"]]
        except KeyError:
            raise DemoFailedError(N_("Nobody in the demo answers %(name)s."), name=task["name"]) from None
        user = task["assignee"] or user
        form = fill(self, data)
        body: dict[str, Any] = {"data": form}
        if task["signature"]:
            body["signature"] = {"password": seed.PASSWORD}
        self.call(user, "POST", f"/tasks/{task['id']}/claim")
        self.call(user, "POST", f"/tasks/{task['id']}/complete", body)
        decision = form.get("decision")
        signed = "，已签字 signed" if task["signature"] else ""
        self.say(user, f"{task['name']}{f' → {decision}' if decision else ''}{signed}")


def milestones(data: Mapping[str, Any]) -> list[str]:
    """What the service tasks have brought so far, a line each."""
    lines = []
    if coverage := data.get("coverage"):
        gaps = sum(len(camera["gaps"]) for camera in coverage["cameras"])
        until = coverage["overwritten_at"]
        lines.append(f"录像核实 coverage: {coverage['status']}, {gaps} gap(s); will be overwritten on {until}")
    if preflight := data.get("preflight"):
        lines.append(f"调取前检查 pre-flight: {'ready' if preflight['ready'] else 'NOT ready'}")
    for found in data.get("acquisitions") or []:
        lines.append(
            f"录像调取 retrieved: {found['camera']}, verdict {found.get('verdict')}, complete {found.get('complete')}"
        )
    if backup := data.get("backup"):
        lines.append(f"安全备份 backed up: {len(backup['copies'])} verified copies on two stores")
    if grant := data.get("grant"):
        lines.append(f"反馈结果 access granted to {grant['user']} ({grant['mode']}) until {grant['expires_at']}")
    if archive := data.get("archive"):
        lines.append(f"归档 archived: {archive['key']}")
    return lines


# ---- what the people of the demo write ------------------------------------------------------------------------------


def recent(minutes: int = 10) -> tuple[datetime, datetime]:
    """Whole minutes of this morning's footage."""
    end = (clock.now() - timedelta(hours=3)).replace(second=0, microsecond=0)
    return end - timedelta(minutes=minutes), end


def over_gap() -> tuple[datetime, datetime]:
    """Four minutes of the lobby; each day the simulated recorder misses some minutes of it, beginning at noon."""
    lobby = next(camera for camera in CAMERAS if camera.token == "lobby")
    midnight = (clock.now().astimezone(LOCAL_TIME) - timedelta(days=1)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    noon = midnight + lobby.missing[1].begins
    return noon - timedelta(minutes=2), noon + timedelta(minutes=2)


def application(cameras: list[str], start: datetime, end: datetime, **other: Any) -> dict[str, Any]:
    return {
        "cameras": cameras,
        "start_at": start.astimezone(LOCAL_TIME).isoformat(),
        "end_at": end.astimezone(LOCAL_TIME).isoformat(),
        "clock_basis": "standard",
        "reason": "核实一起车辆刮擦的经过",
        "purpose": "incident",
        "legal_basis": "internal_rules",
        "incident_no": "SG-2026-017",
        "urgency": "normal",
        "mode": "copy",
        "third_party": "no",
        "minors": "no",
        "secret": "no",
        "use_until": (clock.now() + timedelta(days=14)).astimezone(LOCAL_TIME).date().isoformat(),
        "recipient": "李申请",
        "applicant_kind": "internal",
        "position": "班组长",
        "employee_no": "D0001",
        "phone": "+8613800000001",
        "undertaking": True,
        **other,
    }


def decide(decision: str, comment: str = "", more: Mapping[str, bool] = MappingProxyType({})) -> Answer:
    given: dict[str, Any] = {"decision": decision, **more} | ({"comment": comment} if comment else {})
    return lambda _walk, _data: given


def record_answer(_walk: Walk, data: dict[str, Any]) -> dict[str, Any]:
    """What the operator writes into the record form; the locked fields are filled by the process."""
    cameras = data["coverage"]["cameras"]
    return {
        "retrieved_at": data["preparation"]["at"],
        "place": "、".join(camera["name"] for camera in cameras),
        "operators": "钱调取",
        "clock_offset": "；".join(f"{camera['name']}：{camera['clock_offset_seconds']} 秒" for camera in cameras),
        "clock_method": "measured",
        "export_method": "native_stream",
        "playback_result": "合格。",
        "gaps": "；".join(f"{camera['name']}：{len(camera['gaps'])} 处缺口" for camera in cameras if camera["gaps"]),
        "recipient": "李申请",
        "copies": 1,
    }


SOUND = {"complete": True, "clear": True, "continuous": True, "undamaged": True}
CHECKED = {"lawful": True, "legitimate": True, "minimal": True, "identity_checked": True}

# element -> who answers (unless the task names its assignee) and what
ANSWERS: dict[str, tuple[str, Answer]] = {
    "fill_application": ("applicant", lambda walk, _data: walk.application),
    "sign_application": ("head", decide("approve")),
    "review_request": ("reviewer", decide("approve", "目的正当，范围必要", CHECKED)),
    "decide_partial": ("applicant", decide("accept")),
    "vote_committee": ("member1", decide("approve")),
    "confirm_readiness": ("operator", decide("ready", more={"equipment_ready": True})),
    "check_playback": ("operator", decide("ok", more=SOUND)),
    "complete_record": ("operator", record_answer),
    "countersign_record": ("archivist", decide("approve")),
    "register_shelf": (
        "archivist",
        lambda _walk, _data: {"shelf": "A-03-17", "medium": "disk_array", "custodian": "archivist"},
    ),
}


# ---- the whole ------------------------------------------------------------------------------------------------------


def run(*, data: Path, port: int, leave: bool) -> int:
    """The whole demo; 0 only if the bag verifies.

    Raises:
        ConflictError: the folder holds a real installation.
        DemoFailedError: a step was refused or nothing moved any more.
    """
    began = time.monotonic()
    data = data.resolve()
    if (data / "secret_key").exists() and not (data / "demo").exists():
        raise ConflictError(N_("%(data)s is not a demo folder: nothing was touched."), data=str(data))
    data.mkdir(parents=True, exist_ok=True)
    (data / "demo").touch()
    make_secret(data)
    os.environ["DIAOQU_DATA"] = str(data)
    settings = Settings.from_environment()
    print("准备录像片段 preparing the simulated recorder's footage …", flush=True)
    prepare_media(data / "recorder")
    service = Service(data, port)
    recorder_port, rtsp_port = free_port(), free_port()
    password_file = data / "recorder_password"
    password_file.write_text("recorder-demo\n")
    database = Database.of(settings)
    try:
        database.upgrade()
        with database.transaction() as session:
            seed.people(session)
        deploy_procedure(database, by="owner", note="首次部署 first deployment")
        with database.transaction() as session:
            seed.cameras(
                session,
                settings,
                url=f"http://127.0.0.1:{recorder_port}/onvif/device_service",
                username=RECORDER_USER,
                password="recorder-demo",
            )
            tokens = {
                name: identity.issue_token(session, found, label="demo", expires_at=clock.now() + timedelta(hours=2))
                for name, *_ in seed.PEOPLE
                if (found := identity.find(session, name))
            }
    finally:
        database.dispose()
    try:
        service.start(
            *("simulate-recorder", "--port", str(recorder_port), "--rtsp-port", str(rtsp_port)),
            *("--user", RECORDER_USER, "--password-file", str(password_file), "--media", str(data / "recorder")),
        )
        service.start("web", "--port", str(port))
        service.start("worker")
        service.wait_until_up(f"{service.url}/api/v1/health")
        print(
            f"{service.url}/  accounts: {', '.join(name for name, *_ in seed.PEOPLE)}; password {seed.PASSWORD}",
            flush=True,
        )
        status = walk_all(service, tokens)
        print(f"\n{time.monotonic() - began:.0f} s", flush=True)
        if not leave:
            print(
                f"\n{service.url}/ is running; Ctrl-C ends it. DIAOQU_DATA={data} .venv/bin/diaoqu works on it.",
                flush=True,
            )
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            while True:
                service.check()
                time.sleep(1)
        return status
    except KeyboardInterrupt:
        return 0
    finally:
        service.stop()


def walk_all(service: Service, tokens: Mapping[str, str]) -> int:
    first = Walk(
        service,
        tokens,
        "① 完整流程 a request from application to archive",
        application(["gate", "garage"], *recent()),
        ANSWERS,
    ).run()
    refused = {**ANSWERS, "vote_committee": ("member1", decide("refuse", "理由不充分，影响他人隐私"))}
    second = Walk(
        service,
        tokens,
        "② 委员会驳回 a request that the committee refuses",
        application(["counter"], *recent()),
        refused,
    ).run()
    third = Walk(
        service,
        tokens,
        "③ 部分录像 a request that finds only part of the footage",
        application(["lobby"], *over_gap()),
        ANSWERS,
    ).run()
    expected = {
        "② refused": "archive" not in second,
        "③ partial": (third.get("coverage") or {}).get("status") == "partial" and "archive" in third,
    }
    for what, right in expected.items():
        if not right:
            print(f"{what}: NOT as expected", flush=True)
    valid = all(expected.values())
    for data in (first, third):
        bag = Path(data["archive"]["path"])
        problems = verify_bag(bag)
        print(
            f"\n归档包 bag: {bag}\n验证 verification: {'; '.join(map(str, problems)) if problems else 'valid'}",
            flush=True,
        )
        valid = valid and not problems
    return 0 if valid else 1
