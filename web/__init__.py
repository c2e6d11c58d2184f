"""Thin Flask UI, REST API and command line.

`create_app` wires the parts; a page belongs to the blueprint of its desk, a rule to the engine or the device.
"""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Flask, redirect, url_for

from engine.db import Database
from engine.settings import Settings
from web import (
    actors,
    admin,
    api,
    api_operations,
    archive,
    audit,
    auth,
    brief,
    bundles,
    cases,
    copies,
    diagrams,
    edge,
    errors,
    footage,
    i18n,
    instances,
    menu,
    migrations,
    notices,
    operations,
    people,
    progress,
    redaction,
    requests,
    security,
    stills,
    studio,
    tasks,
    verdicts,
)

BLUEPRINTS: Sequence[Blueprint] = (
    api.blueprint,
    api_operations.blueprint,
    auth.blueprint,
    tasks.blueprint,
    requests.blueprint,
    notices.blueprint,
    progress.blueprint,
    diagrams.blueprint,
    cases.blueprint,
    footage.blueprint,
    stills.blueprint,
    copies.blueprint,
    redaction.blueprint,
    studio.blueprint,
    migrations.blueprint,
    audit.blueprint,
    archive.blueprint,
    operations.blueprint,
    instances.blueprint,
    admin.blueprint,
)
"""One per desk; whoever adds a desk adds its line here."""

LARGEST_REQUEST = 64 * 1024 * 1024


def create_app(settings: Settings, database: Database | None = None) -> Flask:
    """The WSGI application. Without `database` it opens the one that the settings name; the schema must be current."""
    app = Flask(__name__)
    app.secret_key = settings.secret_key
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_REQUEST, MAX_FORM_MEMORY_SIZE=4 * 1024 * 1024)
    app.extensions["settings"] = settings
    app.extensions["database"] = database or Database.of(settings)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    # Who is asking comes before the CSRF check: a program without a token is told so.
    for part in (edge, errors, i18n, auth, security, people, menu, bundles, notices, brief, cases, actors, verdicts):
        part.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.add_url_rule("/", "home", _home)
    return app


def _home() -> Any:
    return redirect(url_for("tasks.inbox"))
