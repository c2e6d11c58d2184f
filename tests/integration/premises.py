"""The whole installation in a folder of its own: a recorder, the web process and the worker, and people who use them.

The database is seeded as `make demo` does it; everything after that goes over HTTP. A copy of a stopped installation
is an installation too, which is how one case is led on in several ways.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import requests
from processes import Process, answers, eventually, free_port
from sqlalchemy import select
from sqlalchemy.orm import Session

from device.simulator import LOCAL_TIME
from engine import clock, identity
from engine.db import Database
from engine.models import Job
from engine.settings import Settings
from web import seed
from web.demo import ANSWERS, application
from web.setup import MAIN_PROCESS, deploy_procedure, make_secret

OFFSET = timedelta(seconds=37)
"""How far the recorder's clock is ahead of the true time."""

PASSWORD = "a recorder's password"
LEASE = 3
"""Seconds after which another worker takes over; short, because tests wait for it."""


class RecorderProcess:
    """`diaoqu simulate-recorder` at ports of its own; it can be switched off and on again at the same address."""

    def __init__(self, folder: Path, media: Path) -> None:
        self.folder, self.media = folder, media
        self.port, self.rtsp_port = free_port(), free_port()
        self.password = folder / "recorder_password"
        self.password.write_text(PASSWORD + "\n")
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/onvif/device_service"

    def start(self) -> None:
        if self._process is not None and not self._process.ended:
            return
        arguments = ["--port", str(self.port), "--rtsp-port", str(self.rtsp_port), "--media", str(self.media)]
        arguments += ["--user", "viewer", "--password-file", str(self.password)]
        arguments += ["--clock-offset", str(OFFSET.total_seconds())]
        process = Process("simulate-recorder", *arguments, log=self.folder / "recorder.log")
        self._process = process

        def up() -> bool:
            process.check()
            return answers(self.port) and answers(self.rtsp_port)

        eventually(up, "the recorder answers")

    def stop(self) -> None:
        """As if the plug were pulled."""
        if self._process is not None and not self._process.ended:
            self._process.kill_group()
        self._process = None


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    text: str
    kind: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.text)


@dataclass
class Premises:
    """`folder` is DIAOQU_DATA. `tokens` holds a bearer token for each demo account."""

    folder: Path
    recorder: RecorderProcess
    tokens: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    web: Process | None = None
    worker: Process | None = None
    _database: Database | None = None

    @classmethod
    def found(cls, folder: Path, recorder: RecorderProcess, **environment: str) -> "Premises":
        """A new installation with the demo's people, the recorder's cameras and the procedure."""
        make_secret(folder)
        made = cls(folder, recorder, environment=environment)
        database = Database.of(made.settings)
        database.upgrade()
        with database.transaction() as session:
            seed.people(session)
        deploy_procedure(database, by="owner", note="首次部署")
        with database.transaction() as session:
            seed.cameras(session, made.settings, url=recorder.url, username="viewer", password=PASSWORD)
            for name, *_ in seed.PEOPLE:
                user = identity.find(session, name)
                assert user is not None
                expires_at = clock.now() + timedelta(hours=3)
                made.tokens[name] = identity.issue_token(session, user, expires_at=expires_at)
        database.dispose()
        return made

    def copy(self, folder: Path) -> "Premises":
        """The same installation at the same moment in another folder; this one must be standing still."""
        assert self.web is None
        assert self.worker is None
        shutil.copytree(self.folder, folder)
        return Premises(folder, self.recorder, self.tokens)

    # ---- processes

    @property
    def settings(self) -> Settings:
        return Settings.from_environment({"DIAOQU_DATA": str(self.folder), **self.environment})

    def _start(self, *arguments: str, doom: str = "", **environment: str) -> Process:
        given = {"DIAOQU_DATA": str(self.folder), **self.environment, **environment}
        program: tuple[str, ...] = ("-m", "web.cli")
        if doom:
            given["DIAOQU_DOOM"] = doom
            program = (str(Path(__file__).with_name("doomed.py")),)
        return Process(*arguments, log=self.folder / f"{arguments[0]}.log", environment=given, program=program)

    def start_web(self, *, doom: str = "", **environment: str) -> None:
        self.stop_web()
        self.port = free_port()
        web = self.web = self._start("web", "--port", str(self.port), doom=doom, **environment)

        def up() -> bool:
            web.check()
            return answers(self.port)

        eventually(up, "the web process answers")

    def start_worker(self, *, doom: str = "", **environment: str) -> Process:
        self.stop_worker()
        self.worker = self._start("worker", "--lease", str(LEASE), doom=doom, **environment)
        return self.worker

    def stop_web(self) -> None:
        if self.web is not None:
            self.web.stop()
            self.web = None

    def stop_worker(self) -> None:
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def stop(self) -> None:
        """End everything; nothing holds a file of the folder any more."""
        self.stop_worker()
        self.stop_web()
        if self._database is not None:
            self._database.dispose()
            self._database = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ---- the REST API

    def call(self, user: str, method: str, path: str, body: Any = None, *, lang: str = "en", **more: Any) -> Answer:
        """One request to the API with the person's token; a dictionary or list as `body` is sent as JSON."""
        headers = {"Authorization": f"Bearer {self.tokens[user]}"} if user else {}
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        answer = requests.request(
            method,
            f"{self.url}/api/v1{path}",
            params={"lang": lang},
            headers=headers | more.pop("headers", {}),
            timeout=60,
            **(sent if body is not None else {}),
            **more,
        )
        return Answer(answer.status_code, answer.text, answer.headers.get("Content-Type", ""))

    def ask(self, user: str, method: str, path: str, body: Any = None) -> Any:
        """As `call`, for what must succeed."""
        answer = self.call(user, method, path, body)
        assert answer.status < 400, (method, path, answer)
        return answer.json

    # ---- one request on its way

    def apply(self, cameras: list[str], start: datetime, end: datetime, **other: Any) -> str:
        """A request of the applicant, submitted; answers the id of its process instance."""
        instance = str(self.ask("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}})["id"])
        self.submit(instance, "fill_application", application(cameras, start, end, **other))
        return instance

    def open_tasks(self, instance: str) -> list[dict[str, Any]]:
        return list(self.ask("auditor", "GET", f"/tasks?instance={instance}"))

    def task(self, instance: str, element: str) -> dict[str, Any]:
        """The open task at an element; of several (a vote), the first."""
        found = [task for task in self.open_tasks(instance) if task["element"] == element]
        assert found, f"{element} is not open: {[task['element'] for task in self.open_tasks(instance)]}"
        return found[0]

    def submit(self, instance: str, element: str, data: Mapping[str, Any], *, by: str = "") -> None:
        task = self.task(instance, element)
        body: dict[str, Any] = {"data": dict(data)}
        if task["signature"]:
            body["signature"] = {"password": seed.PASSWORD}
        user = by or task["assignee"] or ANSWERS[element][0]
        self.ask(user, "POST", f"/tasks/{task['id']}/complete", body)

    def instance(self, instance: str) -> dict[str, Any]:
        return dict(self.ask("auditor", "GET", f"/instances/{instance}"))

    def wait_for(self, instance: str, *elements: str, seconds: float = 120) -> str:
        """Until a user task at one of `elements` is open; answers which."""

        def look() -> str:
            for process in (self.web, self.worker):
                if process is not None:
                    process.check()
            return next((task["element"] for task in self.open_tasks(instance) if task["element"] in elements), "")

        return eventually(look, f"{' or '.join(elements)} of {instance} is open", seconds=seconds, every=0.1)

    def lead(self, instance: str, *, to: str = "") -> dict[str, Any]:
        """Everybody agrees to everything until a task at `to` is open, or the process ends; answers its data."""
        while True:
            state = eventually(lambda: self._settled(instance), f"{instance} moves on", seconds=180, every=0.1)
            tasks = self.open_tasks(instance)
            if state["state"] != "running" or (to and to in {task["element"] for task in tasks}):
                return dict(state["data"])
            if tasks:
                element = tasks[0]["element"]
                _who, fill = ANSWERS[element]
                self.submit(instance, element, fill(None, state["data"]))  # type: ignore[arg-type]  # none needs a walk

    def _settled(self, instance: str) -> dict[str, Any] | None:
        for process in (self.web, self.worker):
            if process is not None:
                process.check()
        stopped = [str(job.error) for job in self.jobs(instance) if job.state == "incident"]
        assert not stopped, stopped
        found = self.instance(instance)
        return found if found["state"] != "running" or self.open_tasks(instance) else None

    # ---- looking into the database, as a second worker would

    @contextmanager
    def reading(self) -> Iterator[Session]:
        if self._database is None:
            self._database = Database.of(self.settings)
        with self._database.reading() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """For what only time or another place can do: a training record runs out, a recorder moves."""
        with self.reading():
            assert self._database is not None
            with self._database.transaction() as session:
                yield session

    def token(self, username: str) -> str:
        with self.writing() as session:
            user = identity.find(session, username)
            assert user is not None
            return identity.issue_token(session, user, expires_at=clock.now() + timedelta(hours=3))

    def jobs(self, instance: str) -> list[Job]:
        with self.reading() as session:
            return list(session.scalars(select(Job).where(Job.instance_id == UUID(instance)).order_by(Job.created_at)))

    def job(self, instance: str, element: str) -> Job | None:
        """The newest job at an element."""
        return next((job for job in reversed(self.jobs(instance)) if job.element == element), None)


def of_this_morning(minutes: float, *, seconds: float = 0) -> tuple[datetime, datetime]:
    """A span some hours ago that every camera of the recorder covers; it begins `seconds` past a minute."""
    now = clock.now().astimezone(LOCAL_TIME)
    end = (now - timedelta(hours=3)).replace(second=0, microsecond=0)
    start = end - timedelta(minutes=minutes)
    return start + timedelta(seconds=seconds), end + timedelta(seconds=seconds)
