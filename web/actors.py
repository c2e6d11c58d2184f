"""Who did something, also when it was no person: an operator of the engine, a timer, the system itself."""

from flask import Flask

from engine import operators
from engine.errors import N_
from engine.operators import UnknownOperatorError
from web.i18n import _, language

EVENTS = {
    "start": N_("started the process"),
    "submit": N_("completed a task"),
    "result": N_("delivered a result"),
    "error": N_("reported an error"),
    "timer": N_("fired a timer"),
    "message": N_("sent a message"),
    "signal": N_("sent a signal"),
    "cancel": N_("cancelled the process"),
    "retry": N_("corrected data and tried again"),
    "incident": N_("stopped with an incident"),
    "retry_job": N_("had a job tried again"),
    "suspend": N_("suspended the case"),
    "resume": N_("let the case go on"),
    "modify": N_("moved tokens or corrected data"),
    "migrate": N_("took the case over to another version"),
    "restarted": N_("started a new case from a step of this one"),
    "delegate": N_("passed a task on"),
    "assign": N_("gave a task to somebody"),
    "change_task": N_("changed the date or priority of a task"),
    "discard_message": N_("discarded a message that waited for its receiver"),
    "erase": N_("erased the personal data for ever"),
}
"""What an input event of a history says that somebody did; see engine.models.HistoryEvent."""


def event_word(kind: str) -> str:
    """What was done, in the reader's language; a damaged history may hold kinds that do not exist."""
    return _(EVENTS[kind]) if kind in EVENTS else kind


def machine(actor: str) -> str:
    """What the machine that acted is called, in the reader's language; "" when `actor` is a person."""
    if actor in {"system", "timer", "message"}:
        return _("System")
    if "/" not in actor:
        return ""
    try:
        found = operators.get(actor)
    except UnknownOperatorError:
        return actor
    return found.label_zh if language() == "zh" else found.label_en


def install(app: Flask) -> None:
    app.jinja_env.globals.update(machine=machine, event_word=event_word)
