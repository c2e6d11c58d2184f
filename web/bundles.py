"""The scripts that set-up bundles into static/build (viewer, replay, modeler); pages work without them."""

from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, current_app, request, url_for

_BUILD = Path(__file__).parent / "static" / "build"


def bundle(name: str) -> dict[str, str] | None:
    """Addresses `js` and `css` of a bundle; None when it has not been built."""
    manifest: dict[str, dict[str, Any]] | None = current_app.extensions.get("bundles")
    if manifest is None:
        try:
            manifest = orjson.loads((_BUILD / "manifest.json").read_bytes())
        except FileNotFoundError:
            return None  # not remembered: set-up may be running
        current_app.extensions["bundles"] = manifest
    entry = manifest.get(name) if manifest else None
    if entry is None:
        return None
    return {
        kind: url_for("static", filename=f"build/{file}")
        for kind, file in entry.items()
        if kind in {"js", "css"} and file
    }


def _keep_built_files(response: Response) -> Response:
    """Built files carry a hash in their name and never change."""
    if request.endpoint == "static" and request.path.startswith("/static/build/") and response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def install(app: Flask) -> None:
    app.after_request(_keep_built_files)
    app.jinja_env.globals["bundle"] = bundle
