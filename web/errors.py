"""One table that maps what went wrong to HTTP: pages for people, RFC 9457 problem documents under /api.

A page says what happened, what was kept and what to do next. Whatever nobody foresaw is a 500 with a reference number
that stands in the log beside the trace, and nowhere else.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, current_app, g, make_response, render_template, request
from flask_login import AnonymousUserMixin
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from device.recorders.base import DeviceError, RecorderBusyError, RecorderRefusedError, RecorderUnreachableError
from engine.db import DatabaseAwayError
from engine.errors import (
    N_,
    ConflictError,
    DefinitionError,
    DiaoquError,
    ExpressionError,
    InvalidFormError,
    NoRoomError,
    NotAllowedError,
    NotFoundError,
    OversizedError,
)
from engine.operators import OperatorParameterError, UnknownOperatorError
from web.i18n import _, format_time, say, told
from web.people import display_name, role_name

log = logging.getLogger("diaoqu.web")

# The first class that fits decides; anything else derived from DiaoquError is the caller's mistake (400).
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFoundError, 404),
    (NotAllowedError, 403),
    (ConflictError, 409),
    (OversizedError, 413),
    (InvalidFormError, 422),
    (DefinitionError, 422),
    (ExpressionError, 422),
    (NoRoomError, 507),
    (DatabaseAwayError, 503),
    (UnknownOperatorError, 422),
    (OperatorParameterError, 422),
    (RecorderBusyError, 503),
    (RecorderUnreachableError, 504),
    (RecorderRefusedError, 502),
    (DeviceError, 502),
    (DiaoquError, 400),
)

TITLES: Mapping[int, str] = {
    400: N_("This request could not be understood"),
    401: N_("Please sign in"),
    403: N_("You are not allowed to do this"),
    404: N_("There is nothing at this address"),
    405: N_("This cannot be done here"),
    409: N_("Somebody was faster"),
    413: N_("This is too large"),
    415: N_("This kind of file is not accepted"),
    422: N_("Something needs correcting"),
    429: N_("Too many attempts"),
    500: N_("Something went wrong on our side"),
    502: N_("The recorder refused"),
    503: N_("This is not available at the moment"),
    504: N_("The recorder cannot be reached"),
    507: N_("There is no room left on the disk"),
}

ADVICE: Mapping[int, str] = {
    400: N_("Nothing was changed. Go back, reload the page and try again."),
    401: N_("Sign in and open the page again."),
    403: N_("Nothing was changed. If you need this, ask an administrator for the role or the training record."),
    404: N_("It may have been finished or withdrawn, or it is not meant for you. Look in your tasks or requests."),
    405: N_("Nothing was changed. Go back and use the buttons of the page."),
    409: N_("Nothing was changed by you. Reload to see how things stand now."),
    413: N_("Nothing was stored. Choose something smaller."),
    415: N_("Nothing was stored. Choose another file."),
    422: N_("Nothing was changed. Go back and correct what is named here."),
    429: N_("Wait a little and try again."),
    500: N_("Nothing was half-written. Try again; if it happens again, tell an administrator the reference number."),
    502: N_("Nothing was changed. Tell an administrator."),
    503: N_("Try again in a few minutes."),
    504: N_("Nothing was changed. Try again in a few minutes, or tell an administrator."),
}


RETRY_AFTER = 10
"""Seconds until it is worth asking again whether the database is back."""


def status_of(error: BaseException) -> int:
    """The HTTP status that this error means; 500 for what the table does not know."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status
    return 500


def message_of(error: BaseException) -> str:
    """What the error says, in the reader's language."""
    if isinstance(error, DiaoquError | DeviceError):
        return say(error.template, error.params if wants_problem() else _for_people(error.params))
    return _(str(error))


def _for_people(params: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of people and roles as their names, instants as pages show them; programs get them as they are stored."""
    named: dict[str, Callable[[Any], str]] = {
        "assignee": display_name,
        "username": display_name,
        "people": lambda keys: _(", ").join(display_name(key) for key in str(keys).split(", ")),
        "group": role_name,
        "at": lambda at: format_time(at, seconds=True),
    }
    return {key: named[key](value) if key in named and value else value for key, value in params.items()}


def wants_problem() -> bool:
    """Whether the asker is a program: under /api, or one that asked for JSON."""
    return request.path.startswith("/api/") or request.accept_mimetypes.best == "application/json"


def problem(status: int, detail: str, *, title: str = "", headers: Mapping[str, str] = {}, **members: Any) -> Response:
    """An RFC 9457 problem document. `members` are added as they are (`problems`, `fields`, `reference`)."""
    body = {
        "type": "about:blank",
        "title": title or _(TITLES.get(status, HTTPStatus(status).phrase)),
        "status": status,
        "detail": detail,
        **members,
    }
    response = Response(orjson.dumps(body), status=status, content_type="application/problem+json")
    response.headers.extend(headers)
    return response


def page(status: int, detail: str = "", *, reference: str = "", problems: Any = ()) -> tuple[str, int]:
    """The error page for people."""
    html = render_template(
        "error.html",
        status=status,
        title=_(TITLES.get(status, HTTPStatus(status).phrase)),
        detail=detail,
        advice=_(ADVICE[status]) if status in ADVICE else "",
        reference=reference,
        problems=problems,
    )
    return html, status


def _details(error: DiaoquError) -> dict[str, Any]:
    if isinstance(error, InvalidFormError):
        return {"fields": {key: told(field) for key, field in error.fields.items()}}
    if isinstance(error, DefinitionError):
        return {
            "problems": [
                {
                    "file": found.file,
                    "line": found.line,
                    "element": found.element,
                    "rule": found.rule,
                    "message": told(found.sentence),
                    "severity": found.severity,
                }
                for found in error.problems
            ]
        }
    return {}


def _known(error: Exception) -> Any:
    status = status_of(error)
    details = _details(error) if isinstance(error, DiaoquError) else {}
    if wants_problem():
        return problem(status, message_of(error), **details)
    problems = details.get("problems") or [
        {"element": key, "message": text} for key, text in details.get("fields", {}).items()
    ]
    return page(status, message_of(error), problems=problems)


def _away(error: DatabaseAwayError) -> Response:
    """Said to somebody whom we cannot look up, without a word that stands in the database."""
    g._login_user = AnonymousUserMixin()  # as Flask-Login keeps whom it has found
    response: Response = make_response(_known(error))
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _http(error: HTTPException) -> Any:
    if error.response is not None or error.code is None or error.code < 400:
        return error
    status = error.code
    detail = ""
    if isinstance(error, CSRFError):
        detail = _("The page was open too long, or you signed in again elsewhere. What you typed is kept as a draft.")
    if wants_problem():
        return problem(status, detail or (error.description or ""))
    return page(status, detail)


def _unknown(error: Exception) -> Any:
    if current_app.testing and current_app.config.get("PROPAGATE_EXCEPTIONS"):
        raise error
    reference = secrets.token_hex(4).upper()
    log.error("%s %s: unexpected error, reference %s", request.method, request.path, reference, exc_info=error)
    if wants_problem():
        return problem(500, _("Something went wrong on our side"), reference=reference)
    return page(500, reference=reference)


def install(app: Flask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = app.config.get("PROPAGATE_EXCEPTIONS") or False
    app.register_error_handler(DiaoquError, _known)
    app.register_error_handler(DatabaseAwayError, _away)
    app.register_error_handler(DeviceError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)
