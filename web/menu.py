"""The areas of the site that a person sees: those their roles need and that are installed (UI.md, "Map")."""

from typing import Any

from flask import Flask, current_app, request
from flask_login import current_user
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from engine.errors import N_
from web.i18n import _

# path, label, groups that see it (none: everybody)
AREAS: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("/tasks", N_("Tasks"), frozenset()),
    ("/requests", N_("Requests"), frozenset()),
    ("/cases", N_("Cases"), frozenset({"reviewer", "operator", "archivist", "auditor", "admin"})),
    ("/studio", N_("Procedure"), frozenset({"owner", "admin"})),
    ("/audit", N_("Audit"), frozenset({"auditor"})),
    ("/archive", N_("Archive"), frozenset({"archivist", "auditor"})),
    ("/operations", N_("Operations"), frozenset({"operator", "admin"})),
    ("/admin", N_("Administration"), frozenset({"admin"})),
)


def site_menu() -> list[dict[str, Any]]:
    """Entries {address, label, current} for the signed-in person."""
    entries = []
    for path, label, groups in AREAS:
        if groups and not current_user.has(*groups):
            continue
        address = _installed(path)
        if address:
            current = request.path == path or request.path.startswith(f"{path}/")
            entries.append({"address": address, "label": _(label), "current": current})
    return entries


def _installed(path: str) -> str | None:
    """The address of an area's first page; None when no blueprint answers there."""
    known: dict[str, str | None] = current_app.extensions.setdefault("menu", {})
    if path not in known:
        adapter = current_app.url_map.bind("localhost")
        try:
            adapter.match(path, method="GET")
            known[path] = path
        except RequestRedirect:
            known[path] = f"{path}/"
        except HTTPException:
            known[path] = None
    return known[path]


def install(app: Flask) -> None:
    app.jinja_env.globals["site_menu"] = site_menu
