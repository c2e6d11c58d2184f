"""What the automatic check found in footage, in the reader's language (clause 3.2)."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from engine.errors import N_
from web.i18n import _, format_duration, language

KINDS = {
    "gap": N_("gap"),
    "packets_lost": N_("packets lost"),
    "connection": N_("connection broke"),
    "timeline": N_("the recorder sent no time for its pictures: gaps cannot be seen"),
    "unreadable": N_("the file cannot be opened"),
    "empty": N_("there is no picture and no sound in the file"),
    "truncated": N_("the file ends early"),
    "hole": N_("a piece of the file is empty"),
    "container": N_("the file's structure is damaged"),
    "missing_frames": N_("pictures are missing"),
    "extra_frames": N_("there are more pictures than were retrieved"),
    "codec": N_("another coding than was retrieved"),
    "no_key_frame": N_("the beginning cannot be decoded"),
    "wrong_order": N_("time jumps back"),
    "digest": N_("the file is not the one that was retrieved"),
    "decode": N_("pictures or sound cannot be decoded"),
    "black": N_("the picture is black"),
    "frozen": N_("the picture stands still"),
}


def finding_text(finding: Mapping[str, Any]) -> str:
    """The check's own English sentence, which has the figures; to other readers its kind, and where it is."""
    kind, detail, at = str(finding.get("kind", "")), str(finding.get("detail") or ""), finding.get("at_seconds")
    if kind not in KINDS or (detail and language() == "en"):
        return detail or kind
    if not at:
        return _(KINDS[kind])
    return _("%(finding)s, %(time)s after the first frame", finding=_(KINDS[kind]), time=format_duration(float(at)))


def install(app: Flask) -> None:
    app.jinja_env.globals["finding_text"] = finding_text
