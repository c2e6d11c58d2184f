"""The bell: what somebody was told in the application, newest first (clause 4.1)."""

import re
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Flask, g, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import select

from engine import clock, notifications
from engine.errors import N_, NotFoundError, Sentence
from engine.models import Instance, Notification
from web.auth import person
from web.diagrams import labels
from web.edge import reading, transaction
from web.i18n import _, format_time
from web.security import local_address

blueprint = Blueprint("notices", __name__)

INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")


@blueprint.get("/notices")
def index() -> Any:
    found = notifications.recent(reading(), person().username)
    ids = {notice.instance_id for notice in found if notice.instance_id}
    query = select(Instance.id, Instance.business_key).where(Instance.id.in_(ids), Instance.business_key != "")
    numbers = {row.id: row.business_key for row in reading().execute(query)}
    return render_template("notices/index.html", notices=found, numbers=numbers)


@blueprint.post("/notices/read")
def read_all() -> Any:
    with transaction() as session:
        notifications.mark_read(session, person().username, at=clock.now())
    return redirect(url_for("notices.index"))


@blueprint.post("/notices/<int:notice_id>")
def follow(notice_id: int) -> Any:
    """Mark a notice as read and go where it points."""
    username = person().username
    with transaction() as session:
        link = session.scalar(
            select(Notification.link).where(Notification.id == notice_id, Notification.username == username)
        )
        if link is None:
            raise NotFoundError(N_("There is no such notice."))
        notifications.mark_read(session, username, at=clock.now(), notification_id=notice_id)
    return redirect(local_address(link) or url_for("notices.index"))


def unread_notices() -> int:
    """For the bell; counted once per request."""
    if not current_user.is_authenticated or request.method not in {"GET", "POST"}:
        return 0
    if "unread_notices" not in g:
        g.unread_notices = notifications.count_unread(reading(), current_user.username)
    return int(g.unread_notices)


def notice_text(notice: Notification) -> str:
    """The notice in the reader's language: by the site's catalogue, else by that of the diagram which sent it.

    Its parameters may be labels of the diagram, such as a task's name, and instants, which are shown as every page
    shows them. A template that does not fit its parameters is shown as it stands: it came with a diagram.
    """
    instance = reading().get(Instance, notice.instance_id) if notice.instance_id is not None else None
    names = labels(reading(), instance.definition_id) if instance else {}
    text = _(notice.template)
    try:
        return names.get(text, text) % {key: _shown(value, names) for key, value in notice.params.items()}
    except (KeyError, TypeError, ValueError):
        return text


def _shown(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return Sentence.restored(value).said(_)
    if not isinstance(value, str):
        return value
    return format_time(value) if INSTANT.fullmatch(value) else names.get(value, value)


def install(app: Flask) -> None:
    app.jinja_env.globals.update(unread_notices=unread_notices, notice_text=notice_text)
