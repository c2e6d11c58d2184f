"""The events of a case's log in words: who did what, and the particulars of each (clauses P3, N2)."""

from collections.abc import Mapping
from typing import Any

import orjson

from device.models import CaseEvent
from device.watermark import printed
from engine.errors import N_
from web.brief import camera_name
from web.i18n import _, format_bytes, format_time
from web.people import display_name

WORDS = {
    "opened": N_("opened the case"),
    "acquired": N_("retrieved from the recorder"),
    "reported": N_("wrote the report of the retrieval"),
    "checked": N_("checked for damage"),
    "derived": N_("made a viewing copy"),
    "proposed": N_("looked for faces"),
    "reviewed": N_("reviewed the regions to paint over"),
    "redacted": N_("made a redacted copy"),
    "marked": N_("made a copy for a viewer"),
    "copied": N_("copied to a store and read back"),
    "granted": N_("granted access"),
    "lapsed": N_("granted no access: its end had passed"),
    "revoked": N_("ended an access"),
    "viewed": N_("viewed"),
    "captured": N_("saved a picture"),
    "downloaded": N_("downloaded"),
    "traced": N_("looked up whose copy a code is"),
    "discarded": N_("discarded a working copy"),
    "printed": N_("printed a form"),
    "archived": N_("sealed into the archive"),
    "closed": N_("closed the case"),
    "disclosed": N_("looked at personal data in full"),
    "erased": N_("erased the personal data for ever"),
}

MODES = {
    "view": N_("View only"),
    "still": N_("Still images"),
    "copy": N_("Copy"),
    "check": N_("Playback check"),
}

OUTCOMES = {
    "archived": N_("Archived"),
    "refused": N_("Refused"),
    "withdrawn": N_("Withdrawn"),
    "no_footage": N_("No footage"),
}

STORES = {"primary": N_("First store"), "backup": N_("Second store")}

LABELS = {
    "user": N_("Person"),
    "mode": N_("How"),
    "expires_at": N_("Until"),
    "reason": N_("Reason"),
    "disposal": N_("Disposal"),
    "approved_by": N_("Approved by"),
    "outcome": N_("Outcome"),
    "camera": N_("Camera"),
    "size": N_("Size"),
    "store": N_("Store"),
    "key": N_("Under the key"),
    "copies": N_("Copies"),
    "number": N_("Case"),
    "applicant": N_("Applicant"),
    "shelf": N_("Shelf number"),
    "code": N_("Code"),
    "with_master": N_("With the master"),
    "redacted": N_("Redacted copies only"),
}
"""The particulars that are shown, in this order; digests and the rest stand in the event's exact text beside it."""


def word(kind: str) -> str:
    return _(WORDS[kind]) if kind in WORDS else kind


def mode_word(mode: str) -> str:
    return _(MODES[mode]) if mode in MODES else mode


def facts(event: CaseEvent) -> list[tuple[str, str]]:
    """The particulars of an event as (label, value)."""
    details = orjson.loads(event.details)
    if not isinstance(details, Mapping):
        return []
    return [(_(label), _said(key, details[key])) for key, label in LABELS.items() if details.get(key)]


def _said(key: str, value: Any) -> str:
    if key in {"user", "applicant", "approved_by"}:
        return display_name(str(value))
    if key == "mode":
        return mode_word(str(value))
    if key == "expires_at":
        return format_time(str(value))
    if key == "outcome":
        return _(OUTCOMES[value]) if value in OUTCOMES else str(value)
    if key == "store":
        return _(STORES[value]) if value in STORES else str(value)
    if key == "camera":
        return camera_name(str(value))
    if key == "size" and isinstance(value, int):
        return format_bytes(value)
    if key == "code":
        return printed(str(value))
    if value is True:
        return _("yes")
    if isinstance(value, list):
        return _(", ").join(map(str, value))
    return str(value)
