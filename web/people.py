"""Names of people and departments for pages that know only usernames; one query for many names."""

from collections.abc import Iterable

from flask import Flask, g
from sqlalchemy import select

from engine.errors import N_
from engine.models import User
from web.edge import reading
from web.i18n import _, language

GROUPS = {
    "employee": N_("Employee"),
    "reviewer": N_("Reviewer"),
    "operator": N_("Retrieval operator"),
    "archivist": N_("Archivist"),
    "committee": N_("Safety committee"),
    "chair": N_("Committee chair"),
    "owner": N_("Process owner"),
    "auditor": N_("Auditor"),
    "admin": N_("Administrator"),
}
"""The roles, and what they are called."""


def _known() -> dict[str, tuple[str, str]]:
    if "people" not in g:
        g.people = {}
    found: dict[str, tuple[str, str]] = g.people
    return found


def remember(usernames: Iterable[str | None]) -> None:
    """Fetch the names of these people at once; later look-ups in this request are free."""
    known = _known()
    missing = {username for username in usernames if username} - known.keys()
    if not missing:
        return
    query = select(User.username, User.name, User.name_en).where(User.username.in_(missing))
    for username, name, name_en in reading().execute(query):
        known[username] = (name, name_en)
    for username in missing:
        known.setdefault(username, (username, username))


def display_name(username: str | None) -> str:
    """The person's name in the reader's language; the username itself for somebody unknown."""
    if not username:
        return ""
    remember([username])
    name, name_en = _known()[username]
    return (name_en or name) if language() == "en" else name


def role_name(group: str) -> str:
    """What a role is called; a group that a diagram brings has no other name than its key."""
    return _(GROUPS[group]) if group in GROUPS else group


def install(app: Flask) -> None:
    app.jinja_env.globals["display_name"] = display_name
