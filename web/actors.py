"""Who did something, also when it was no person: an operator of the engine, a timer, the system itself."""

from flask import Flask

from engine import operators
from engine.operators import UnknownOperatorError
from web.i18n import _, language


def machine(actor: str) -> str:
    """What the machine that acted is called, in the reader's language; "" when `actor` is a person."""
    if actor in {"system", "timer"}:
        return _("System")
    if "/" not in actor:
        return ""
    try:
        found = operators.get(actor)
    except UnknownOperatorError:
        return actor
    return found.label_zh if language() == "zh" else found.label_en


def install(app: Flask) -> None:
    app.jinja_env.globals["machine"] = machine
