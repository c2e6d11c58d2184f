"""The running office of the browser tests: real server, worker and recorder processes, and a way to prepare requests.

What a test does not look at itself is done over the REST API, as the people it concerns.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

from engine import clock, identity
from engine.db import Database
from engine.settings import Settings
from web import demo, seed
from web.demo import Service, free_port
from web.setup import MAIN_PROCESS, deploy_procedure, make_secret

RECORDER_PASSWORD = "of the recorder"
PATIENCE = 120


@dataclass
class Office:
    """The processes share one data folder; `tokens` lets the test speak for everybody over the API."""

    service: Service
    tokens: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path, media: Path) -> "Office":
        """Deploy the procedure with the demo's people and cameras, and start everything on free ports."""
        make_secret(folder)
        settings = Settings.from_environment({"DIAOQU_DATA": str(folder)})
        recorder_port, rtsp_port = free_port(), free_port()
        database = Database.of(settings)
        try:
            database.upgrade()
            with database.transaction() as session:
                seed.people(session)
            deploy_procedure(database, by="owner", note="first")
            with database.transaction() as session:
                address = f"http://127.0.0.1:{recorder_port}/onvif/device_service"
                seed.cameras(session, settings, url=address, username="admin", password=RECORDER_PASSWORD)
                tokens = {}
                for name, *_ in seed.PEOPLE:
                    user = identity.find(session, name)
                    assert user is not None
                    tokens[name] = identity.issue_token(session, user, expires_at=clock.now() + timedelta(hours=2))
        finally:
            database.dispose()
        (folder / "recorder_password").write_text(RECORDER_PASSWORD)
        office = cls(Service(folder, free_port()), tokens)
        try:
            office.service.start(
                *("simulate-recorder", "--port", str(recorder_port), "--rtsp-port", str(rtsp_port)),
                *("--user", "admin", "--password-file", str(folder / "recorder_password"), "--media", str(media)),
            )
            office.service.start("web", "--port", str(office.service.port))
            office.service.start("worker")
            office.service.wait_until_up(f"{office.url}/api/v1/health")
        except BaseException:
            office.close()
            raise
        return office

    def close(self) -> None:
        self.service.stop()

    @property
    def url(self) -> str:
        return self.service.url

    def call(self, user: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        answer = requests.request(method, f"{self.url}/api/v1{path}", json=body, timeout=60, headers=headers)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def request(self, *cameras: str, to: str, reason: str = "A parcel was damaged", **application: Any) -> str:
        """A request that has come as far as the element `to`; answers the address of its open task."""
        start, end = demo.recent(1)
        given = {**demo.application(list(cameras or ("gate",)), start, end), "reason": reason, **application}
        answers = {**demo.ANSWERS, "fill_application": ("applicant", lambda _walk, _data: given)}
        walk = demo.Walk(self.service, self.tokens, reason, given, answers)
        walk.instance = self.call("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}})["id"]
        while True:
            task = self.waiting(walk.instance)
            if task["element"] == to:
                return f"/tasks/{task['id']}"
            walk.answer(task, self.call("auditor", "GET", f"/instances/{walk.instance}")["data"])

    def waiting(self, instance: str) -> dict[str, Any]:
        """The task that is open now, as soon as there is one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.service.check()
            found = self.call("auditor", "GET", f"/tasks?instance={instance}")
            if found:
                return dict(found[0])
            time.sleep(0.1)
        raise AssertionError(f"no task of {instance} opens")
