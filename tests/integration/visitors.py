"""People who use the installation from outside: with a browser, or with a program; both are told the same."""

import gettext
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from typing import Any, Protocol

import requests
from premises import Answer, Premises

from engine.settings import ROOT
from web import seed
from web.i18n import ZONE
from web.setup import MAIN_PROCESS


def in_chinese(english: str) -> str:
    """The translation of a message, or an empty text when the catalogue has none."""
    catalogue = gettext.translation("messages", ROOT / "web" / "translations", ["zh"], fallback=True)
    translated = catalogue.gettext(english)
    return "" if translated == english else translated


class Door(Protocol):
    """A way in: `apply`, `claim` and `complete` answer what the person was told."""

    def apply(self, user: str, application: Mapping[str, Any], *, lang: str = "en") -> Answer: ...

    def claim(self, user: str, task: str, *, lang: str = "en") -> Answer: ...

    def complete(self, user: str, task: str, data: Mapping[str, Any], *, lang: str = "en") -> Answer: ...


@dataclass
class Program:
    """The REST API."""

    premises: Premises

    def apply(self, user: str, application: Mapping[str, Any], *, lang: str = "en") -> Answer:
        """Two requests: start the process, fill in its first form."""
        begun = self.premises.call(user, "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}}, lang=lang)
        if begun.status != 201:
            return begun
        return self.complete(
            user, self.premises.task(begun.json["id"], "fill_application")["id"], application, lang=lang
        )

    def claim(self, user: str, task: str, *, lang: str = "en") -> Answer:
        return self.premises.call(user, "POST", f"/tasks/{task}/claim", lang=lang)

    def complete(self, user: str, task: str, data: Mapping[str, Any], *, lang: str = "en") -> Answer:
        body = {"data": dict(data), "signature": {"password": seed.PASSWORD}}
        return self.premises.call(user, "POST", f"/tasks/{task}/complete", body, lang=lang)


@dataclass
class Browser:
    """The pages: signs in once per person and language, sends the CSRF token, signs in two steps."""

    premises: Premises
    _sessions: dict[tuple[str, str], requests.Session] = field(default_factory=dict)
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()

    def session(self, user: str, lang: str = "en") -> requests.Session:
        who = (user, lang)
        if who not in self._sessions:
            session = self._sessions[who] = requests.Session()
            page = session.get(f"{self.premises.url}/sign-in", params={"lang": lang}, timeout=60).text
            form = {"username": user, "password": seed.PASSWORD, "csrf_token": _token(page)}
            entered = session.post(f"{self.premises.url}/sign-in", data=form, timeout=60)
            assert entered.status_code == 200, entered.text
            self._tokens[who] = _token(entered.text)
        return self._sessions[who]

    def get(self, user: str, path: str, *, lang: str = "en") -> Answer:
        return _answer(self.session(user, lang).get(self.premises.url + path, timeout=60))

    def post(
        self,
        user: str,
        path: str,
        data: Mapping[str, Any],
        *,
        lang: str = "en",
        files: Any = None,
        follow: bool = False,
    ) -> Answer:
        session = self.session(user, lang)
        form = {"csrf_token": self._tokens[user, lang], **data}
        return _answer(
            session.post(self.premises.url + path, data=form, files=files, allow_redirects=follow, timeout=60)
        )

    def apply(self, user: str, application: Mapping[str, Any], *, lang: str = "en") -> Answer:
        return self.post(user, "/requests/new", typed(application), lang=lang)

    def claim(self, user: str, task: str, *, lang: str = "en") -> Answer:
        return self.post(user, f"/tasks/{task}/claim", {}, lang=lang)

    def complete(self, user: str, task: str, data: Mapping[str, Any], *, lang: str = "en") -> Answer:
        shown = self.post(user, f"/tasks/{task}", typed(data), lang=lang)
        digest = re.search(r'name="_digest" value="([^"]+)"', shown.text)
        if not digest:
            return shown
        signed = {**typed(data), "_intent": "sign", "_digest": digest[1], "_password": seed.PASSWORD}
        return self.post(user, f"/tasks/{task}", signed, lang=lang)


def typed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Form data as a browser sends it: ticked boxes, times on the wall clock without a zone."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if value is True:
            found[key] = "true"
        elif key in {"start_at", "end_at", "retrieved_at"} and value:
            found[key] = datetime.fromisoformat(value).astimezone(ZONE).replace(tzinfo=None).isoformat()
        elif value is not False:
            found[key] = value
    return found


def _token(page: str) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert found, page[:2000]
    return found[1]


def _answer(response: requests.Response) -> Answer:
    return Answer(response.status_code, unescape(response.text), response.headers.get("Content-Type", ""))
