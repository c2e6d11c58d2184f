"""Languages and times: Chinese first, English second; instants as UI.md shows them, with the zone where in doubt.

The language is `?lang=` (kept in a cookie), else the cookie, else what the signed-in person chose, else Chinese.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Flask, Response, g, request
from flask_babel import Babel, get_locale, gettext, ngettext
from flask_login import current_user

from engine import clock
from engine.errors import Sentence

LANGUAGES = {"zh": "中文", "en": "English"}
COOKIE = "diaoqu_lang"
ZONE = ZoneInfo("Asia/Shanghai")
ZONE_NAME = "UTC+8"

babel = Babel()


def _(text: str, **values: Any) -> str:
    """The text in the reader's language, with its %(named)s values."""
    return str(gettext(text, **values))


def select_language() -> str:
    """The language of this request, `zh` or `en`."""
    if not request:
        return "zh"
    for wanted in (request.args.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return wanted
    chosen = getattr(current_user, "locale", None)
    return chosen if chosen in LANGUAGES else "zh"


def language() -> str:
    """The language in use, `zh` or `en`."""
    locale = get_locale()
    return "en" if locale is not None and locale.language == "en" else "zh"


def local(at: datetime | str) -> datetime:
    """`at` (aware, or ISO 8601 with an offset) on the wall clock of the company."""
    instant = datetime.fromisoformat(at) if isinstance(at, str) else at
    return instant.astimezone(ZONE)


def format_time(at: datetime | str | None, *, seconds: bool = False, zone: bool = False) -> str:
    """`2026-02-01 10:00`, with seconds and ` (UTC+8)` on demand; an empty text for no instant."""
    if not at:
        return ""
    text = local(at).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return f"{text} ({ZONE_NAME})" if zone else text


def format_date(at: datetime | str | None) -> str:
    if not at:
        return ""
    if isinstance(at, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", at):
        return at
    return local(at).strftime("%Y-%m-%d")


def format_span(start: datetime | str | None, end: datetime | str | None) -> str:
    """`2026-02-01 10:00 – 10:20`; the day is said twice only when it changes. Seconds only when there are any."""
    if not start or not end:
        return ""
    first, last = local(start), local(end)
    clock_format = "%H:%M:%S" if first.second or last.second else "%H:%M"
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    return f"{first:%Y-%m-%d} {first.strftime(clock_format)} – {day}{last.strftime(clock_format)}"


def format_duration(seconds: float) -> str:
    """The largest two units that matter: 2 d 3 h, 20 min, 45 s."""
    rest = round(abs(seconds))
    days, rest = divmod(rest, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    if days:
        text = _("%(n)s d", n=days)
        return f"{text} {_('%(n)s h', n=hours)}" if hours and days < 7 else text
    if hours:
        text = _("%(n)s h", n=hours)
        return f"{text} {_('%(n)s min', n=minutes)}" if minutes else text
    if minutes:
        text = _("%(n)s min", n=minutes)
        return f"{text} {_('%(n)s s', n=secs)}" if secs and minutes < 10 else text
    return _("%(n)s s", n=secs)


def relative(at: datetime | str | None, now: datetime | None = None) -> str:
    """`in 3 h`, `2 d ago`, `just now`."""
    if not at:
        return ""
    seconds = (local(at) - (now or clock.now())).total_seconds()
    if abs(seconds) < 60:
        return _("just now")
    rounded = round(abs(seconds) / 3600) * 3600 if abs(seconds) > 86400 else round(abs(seconds) / 60) * 60
    distance = format_duration(rounded)
    return _("in %(time)s", time=distance) if seconds > 0 else _("%(time)s ago", time=distance)


def format_bytes(size: float | None) -> str:
    if size is None:
        return ""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def say(template: str, params: Mapping[str, Any] | None = None) -> str:
    """A message of the engine or the device (template and parameters, also as stored) in the reader's language."""
    return Sentence.restored({"template": template, "params": params or {}}).said(_)


def told(value: Any) -> Any:
    """A sentence in the reader's language; every other value as it is."""
    return value.said(_) if isinstance(value, Sentence) else value


def _keep_choice(response: Response) -> Response:
    wanted = request.args.get("lang")
    if wanted in LANGUAGES and request.cookies.get(COOKIE) != wanted:
        response.set_cookie(
            COOKIE, wanted, max_age=365 * 86400, samesite="Lax", httponly=True, secure=request.is_secure, path="/"
        )
    return response


def other_language_address() -> str:
    """The address of this page in the other language."""
    arguments = request.args.to_dict(flat=False)
    arguments["lang"] = ["zh" if language() == "en" else "en"]
    path = request.path if request.method in {"GET", "HEAD"} else (g.get("page_address") or "/")
    return f"{path}?{urlencode(arguments, doseq=True)}"


def install(app: Flask) -> None:
    app.config.setdefault("BABEL_DEFAULT_LOCALE", "zh")
    app.config.setdefault("BABEL_DEFAULT_TIMEZONE", "Asia/Shanghai")
    babel.init_app(app, locale_selector=select_language)
    app.after_request(_keep_choice)
    app.jinja_env.filters.update(
        time=format_time,
        date=format_date,
        relative=relative,
        duration=format_duration,
        bytes=format_bytes,
    )
    app.jinja_env.globals.update(
        language=language,
        languages=LANGUAGES,
        other_language_address=other_language_address,
        format_span=format_span,
        zone_name=ZONE_NAME,
        say=say,
        told=told,
        ngettext=ngettext,
    )
