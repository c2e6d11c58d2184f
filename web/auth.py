"""Who is asking: sign-in, sign-out, the first administrator, and the rule that every page needs a person.

Deny by default: a view is open to strangers only when it is marked `@public`; roles are required with `@requires`.
Guessing passwords is slowed by the lockout in engine.identity, which counts even what fails here.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import Blueprint, Flask, Response, current_app, flash, redirect, render_template, request, session, url_for
from flask_login import LoginManager, current_user, login_user, logout_user
from sqlalchemy import func, select

from engine import identity
from engine.errors import N_, InvalidFormError, NotAllowedError
from engine.models import User
from web.edge import database, reading, transaction
from web.errors import message_of, problem, wants_problem
from web.i18n import _, told
from web.people import GROUPS as GROUPS
from web.security import bears_token, local_address

P = ParamSpec("P")
R = TypeVar("R")

blueprint = Blueprint("auth", __name__)
login_manager = LoginManager()


class Account:
    """The signed-in person as Flask-Login wants to see them; `user` is the row, read in the request's session."""

    is_authenticated = True
    is_active = True
    is_anonymous = False

    def __init__(self, user: User) -> None:
        self.user = user
        self.username = user.username
        self.name = user.name
        self.name_en = user.name_en
        self.locale = user.locale
        self.groups = user.groups

    def get_id(self) -> str:
        return f"{self.username}:{_stamp(self.user)}"

    @property
    def roles(self) -> str:
        """The person's roles in the reader's language, for the menu."""
        named = [_(label) for key, label in GROUPS.items() if key in self.groups and key != "employee"]
        return _(", ").join(named) or (_(GROUPS["employee"]) if "employee" in self.groups else "")

    def has(self, *groups: str) -> bool:
        """Whether the person is in at least one of `groups`."""
        return bool(self.groups & set(groups))


def _stamp(user: User) -> str:
    """Part of the session cookie: a changed password ends every session that was opened with the old one."""
    return hmac.new(
        cast(str, current_app.secret_key).encode(), user.password_hash.encode(), hashlib.sha256
    ).hexdigest()[:20]


def person() -> User:
    """The signed-in user's row.

    Raises:
        NotAllowedError: nobody is signed in.
    """
    if not current_user.is_authenticated:
        raise NotAllowedError(N_("Please sign in first."))
    return cast(User, current_user.user)


def public(view: Callable[P, R]) -> Callable[P, R]:
    """Open a view to people who are not signed in."""
    view.public = True  # type: ignore[attr-defined]  # a mark on the function, read by _require_sign_in
    return view


def requires(*groups: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Open a view only to members of at least one of `groups`; the answer to others is 403."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if not person().groups & set(groups):
                raise NotAllowedError(
                    N_("This page is for: %(roles)s."), roles=", ".join(_(GROUPS.get(key, key)) for key in groups)
                )
            return view(*args, **kwargs)

        return guarded

    return decorate


def _load(identifier: str) -> Account | None:
    if bears_token():
        return None  # such a request is judged by its token alone
    username, _colon, stamp = identifier.rpartition(":")
    user = identity.find(reading(), username)
    if user is None or not user.active or not hmac.compare_digest(stamp, _stamp(user)):
        return None
    return Account(user)


def _load_by_token(_request: Any) -> Account | None:
    if not bears_token():
        return None
    user = identity.user_by_token(reading(), request.headers["Authorization"][7:].strip())
    return None if user is None else Account(user)


def _require_sign_in() -> Any:
    if request.endpoint is None or request.endpoint == "static":
        return None
    view = current_app.view_functions.get(request.endpoint)
    if getattr(view, "public", False) or current_user.is_authenticated:
        return None
    if wants_problem() or bears_token():
        return problem(
            401,
            _("Sign in, or send a valid token as “Authorization: Bearer …”."),
            headers={"WWW-Authenticate": "Bearer"},
        )
    if request.method == "GET":
        target = request.full_path.rstrip("?") if request.query_string else request.path
        return redirect(url_for("auth.sign_in", next=None if target == "/" else target))
    flash(_("You were signed out. What you typed is kept as a draft where the form allows it."), "warning")
    return redirect(url_for("auth.sign_in"))


def _somebody_exists() -> bool:
    """Whether there is any user; remembered once true, because users are never deleted."""
    if not current_app.extensions.get("somebody_exists"):
        current_app.extensions["somebody_exists"] = bool(reading().scalar(select(func.count()).select_from(User)))
    return bool(current_app.extensions["somebody_exists"])


def _welcome(user: User, target: str | None) -> Response:
    session.clear()  # nothing of an earlier visitor survives, the CSRF token included
    session.permanent = True
    login_user(Account(user))
    return cast(Response, redirect(local_address(target) or url_for("tasks.inbox")))


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Any:
    """Ask for name and password. A wrong one is refused with 401 and counted towards the lockout."""
    if not _somebody_exists():
        return redirect(url_for("auth.first_run"))
    target = request.values.get("next")
    if request.method == "GET":
        if current_user.is_authenticated:
            return redirect(local_address(target) or url_for("tasks.inbox"))
        return render_template("auth/sign_in.html", target=local_address(target) or "")
    username = request.form.get("username", "").strip()
    try:
        with database().reading() as looking:  # a failed attempt is counted when this session ends
            user = identity.authenticate(looking, username, request.form.get("password", ""))
    except identity.WrongPasswordError as error:
        refusal = message_of(error)
        page = render_template(
            "auth/sign_in.html", username=username, refusal=refusal, target=local_address(target) or ""
        )
        return page, 401
    return _welcome(user, target)


@blueprint.post("/sign-out")
def sign_out() -> Any:
    logout_user()
    session.clear()
    return redirect(url_for("auth.sign_in"))


@blueprint.route("/first-run", methods=["GET", "POST"])
@public
def first_run() -> Any:
    """Create the first administrator; the page exists only while there is nobody at all."""
    if _somebody_exists():
        return redirect(url_for("auth.sign_in"))
    if request.method == "GET":
        return render_template("auth/first_run.html", values={}, errors={})
    values = {key: request.form.get(key, "").strip() for key in ("username", "name")}
    password = request.form.get("password", "")
    errors: dict[str, str] = {}
    if not values["name"]:
        errors["name"] = _("Please enter a name.")
    if password != request.form.get("repeat", ""):
        errors["repeat"] = _("The two passwords differ.")
    if not errors:
        try:
            with transaction() as writing:
                if writing.scalar(select(func.count()).select_from(User)):  # somebody else filled it in meanwhile
                    return redirect(url_for("auth.sign_in"))
                user = identity.create_user(
                    writing, values["username"], password, name=values["name"], groups=("admin", "employee")
                )
        except InvalidFormError as error:
            errors = {key: told(found) for key, found in error.fields.items()}
        else:
            return _welcome(user, None)
    return render_template("auth/first_run.html", values=values, errors=errors), 422


def install(app: Flask) -> None:
    login_manager.session_protection = "strong"
    login_manager.user_loader(_load)
    login_manager.request_loader(_load_by_token)
    login_manager.init_app(app)
    app.before_request(_require_sign_in)
