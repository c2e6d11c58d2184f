"""Somebody with a browser, without a network."""

import re
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PASSWORD = "correct horse battery"
"""Of everybody whom the `people` fixture adds."""

TASK = re.compile(r'href="(/tasks/[0-9a-f-]{36})"')


@dataclass
class Visitor:
    """Somebody with a browser: follows no redirect, sends the CSRF token of the page before."""

    client: FlaskClient
    language: str = "en"

    def get(self, address: str, **more: Any) -> TestResponse:
        return self.client.get(address, query_string={"lang": self.language} if "?" not in address else None, **more)

    def post(self, address: str, data: dict[str, Any] | None = None, **more: Any) -> TestResponse:
        return self.client.post(address, data={"csrf_token": self.token(), **(data or {})}, **more)

    def token(self) -> str:
        page = self.get("/sign-in", follow_redirects=True).text
        return re.search(r'name="csrf-token" content="([^"]+)"', page)[1]  # type: ignore[index]

    def sign_in(self, username: str, password: str = PASSWORD, **more: Any) -> TestResponse:
        return self.post("/sign-in", {"username": username, "password": password, **more})

    def tasks(self) -> list[str]:
        """The addresses of the tasks in the inbox, in its order."""
        return TASK.findall(self.get("/tasks").text)

    def sign(self, task: str, data: dict[str, Any], password: str = PASSWORD) -> TestResponse:
        """Fill in the form, read the text, sign it."""
        review = self.post(task, data)
        digest = re.search(r'name="_digest" value="([^"]+)"', review.text)
        assert digest, review.text
        return self.post(task, {**data, "_intent": "sign", "_digest": digest[1], "_password": password})
