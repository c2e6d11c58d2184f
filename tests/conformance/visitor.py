"""Somebody in the office, with a browser and with a token for the API; no network in between."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient
from lxml import html
from werkzeug.test import TestResponse

from device.simulator import LOCAL_TIME
from engine import notifications
from engine.models import Notification
from web import seed

if TYPE_CHECKING:
    from office import Office

PASSWORD = seed.PASSWORD


@dataclass(frozen=True)
class Answer:
    """What the API said."""

    status: int
    body: Any

    @property
    def fields(self) -> set[str]:
        """The fields that were refused."""
        return set(self.body.get("fields", {}))

    @property
    def detail(self) -> str:
        return str(self.body.get("detail", ""))


class Person:
    """Reads English. Signs in when the first page is asked for."""

    def __init__(self, office: "Office", username: str, token: str) -> None:
        self.username = username
        self._office = office
        self._token = token

    @cached_property
    def _client(self) -> FlaskClient:
        client = self._office.app.test_client()
        with self._office.time():
            page = parsed(client.get("/sign-in?lang=en"))
            given = {**_values(page.forms[0]), "username": self.username, "password": PASSWORD}
            assert client.post("/sign-in", data=given).status_code == 302
        return client

    def api(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask the API, in English."""
        with self._office.time():
            answer = self._office.app.test_client().open(
                f"/api/v1{path}",
                method=method,
                json=body,
                headers={"Authorization": f"Bearer {self._token}"},
                query_string={"lang": "en"} if "?" not in path else None,
            )
        return Answer(answer.status_code, answer.get_json())

    def get(self, address: str, **more: Any) -> TestResponse:
        client = self._client
        with self._office.time():
            return client.get(address, buffered=True, **more)

    def post(self, address: str, data: Mapping[str, Any] | None = None, **more: Any) -> TestResponse:
        """Post a form that stands on no page of its own, with the token of this session."""
        found = re.search(r'name="csrf-token" content="([^"]+)"', self.get("/tasks").text)
        assert found is not None
        with self._office.time():
            return self._client.post(address, data={"csrf_token": found[1], **(data or {})}, **more)

    def form(self, address: str) -> dict[str, Any]:
        """What the form on a page holds now."""
        page = self.get(address)
        assert page.status_code == 200, page.text
        return _values(_form(page, address))

    def fill(self, address: str, answers: Mapping[str, Any], *, password: str = PASSWORD) -> TestResponse:
        """Open a page, change its form and send it; sign when the next page asks for it."""
        page = self.get(address)
        assert page.status_code == 200, page.text
        client, filled = self._client, {**_values(_form(page, address)), **_typed(answers)}
        with self._office.time():
            sent = client.post(address, data=filled)
            if sent.status_code != 200 or 'name="_digest"' not in sent.text:
                return sent
            signed = {**_values(_form(sent, address)), "_password": password, "_intent": "sign"}
            return client.post(address, data=signed)

    def notices(self) -> list[Notification]:
        with self._office.database.reading() as session:
            return notifications.recent(session, self.username)

    def inbox(self) -> list[str]:
        """The elements whose tasks wait for this person, as the API lists them."""
        return [task["element"] for task in self.api("GET", "/tasks").body]


def _form(page: TestResponse, address: str) -> Any:
    """The form that is sent to this address; of several the one with most fields, the others being single buttons."""
    path = address.partition("?")[0]
    found = [form for form in parsed(page).forms if (form.action or path) == path]
    return max(found, key=lambda form: len(form.inputs.keys()))


def parsed(page: TestResponse) -> Any:
    return html.fromstring(page.text)


def refusals(page: TestResponse) -> list[str]:
    """What a page says is wrong with its form, field by field."""
    found = parsed(page).xpath('//*[@id="errors"]//li | //*[@role="alert"]')
    return [" ".join(one.text_content().split()) for one in found]


def _values(form: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in form.form_values():
        found[name] = value if name not in found else [*_listed(found[name]), value]
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _typed(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Answers as a browser sends them: an unticked box is absent, times are on the wall clock."""
    typed = {key: "true" if value is True else value for key, value in answers.items() if value is not False}
    for key in ("start_at", "end_at"):
        if key in typed and "+" in typed[key]:
            typed[key] = f"{datetime.fromisoformat(typed[key]).astimezone(LOCAL_TIME):%Y-%m-%dT%H:%M:%S}"
    return typed
