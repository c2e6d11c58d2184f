"""People: signing in, groups, deputies, training records, API tokens (clauses 1.2, N1, rules of conduct)."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, joinedload

from engine import clock
from engine.db import Database, afterwards
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotAllowedError, NotFoundError
from engine.models import ApiToken, Department, Deputy, Membership, Qualification, User

LOCK_AFTER = 5
LOCK_FOR = timedelta(minutes=15)
PASSWORD_LENGTH = 8

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_NOBODY = _HASHER.hash(secrets.token_urlsafe(32))
"""Verified when there is no such person, so that the answer takes as long as for one who exists."""

_USERNAME = re.compile(r"[\w.@-]{1,64}")


class WrongPasswordError(NotAllowedError):
    """The name or the password is wrong, or the account is locked; which of them is not said."""

    def __init__(self) -> None:
        super().__init__(
            N_("The user name or the password is wrong, or the account is locked for %(minutes)s minutes."),
            minutes=int(LOCK_FOR.total_seconds() // 60),
        )


# ---- signing in -----------------------------------------------------------------------------------------------------


def authenticate(session: Session, username: str, password: str) -> User:
    """The person who knows this password. Five wrong ones in a row lock the account for a quarter of an hour.

    A failure is counted in a transaction of its own, so the caller may roll back. Only for sessions of `Database`.

    Raises:
        WrongPasswordError: unknown, wrong, inactive or locked; it takes the same time in every case.
    """
    user = find(session, username)
    if user is None:
        _matches(_NOBODY, password)
        raise WrongPasswordError
    confirm(session, user, password)
    return user


def confirm(session: Session, user: User, password: str) -> None:
    """Prove once more that it is `user` who sits there (clause 1.2); without a query. Counts and raises as above."""
    at = clock.now()
    username = user.username
    right = _matches(user.password_hash, password)
    if not user.active or (user.locked_until is not None and at < user.locked_until):
        raise WrongPasswordError
    if not right:
        afterwards(session, lambda database: _count_failure(database, username, at))
        raise WrongPasswordError
    if user.failed_logins or user.locked_until is not None:
        afterwards(session, lambda database: _forget_failures(database, username))


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def _count_failure(database: Database, username: str, at: datetime) -> None:
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.username == username).with_for_update(of=User)).one()
        user.failed_logins += 1
        if user.failed_logins >= LOCK_AFTER:
            user.failed_logins, user.locked_until = 0, at + LOCK_FOR


def _forget_failures(database: Database, username: str) -> None:
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.username == username).with_for_update(of=User)).one()
        user.failed_logins, user.locked_until = 0, None


def create_user(
    session: Session,
    username: str,
    password: str,
    *,
    name: str,
    name_en: str = "",
    groups: Iterable[str] = (),
    department: Department | None = None,
    title: str = "",
    employee_no: str = "",
    phone: str = "",
    email: str = "",
    locale: str = "zh",
) -> User:
    """Add a person to the directory.

    Raises:
        InvalidFormError: the username has other characters than letters, digits and . _ - @, or the password is short.
        ConflictError: the username is taken.
    """
    if not _USERNAME.fullmatch(username):
        problem = FieldError(N_("Use 1 to 64 letters, digits, dots, hyphens or underscores."), {})
        raise InvalidFormError({"username": problem})
    if find(session, username) is not None:
        raise ConflictError(N_("The user name %(key)s is taken."), key=username)
    user = User(
        username=username,
        password_hash=hash_password(password),
        name=name,
        name_en=name_en,
        department=department,
        title=title,
        employee_no=employee_no,
        phone=phone,
        email=email,
        locale=locale,
        created_at=clock.now(),
        memberships=[Membership(group=group) for group in sorted(set(groups))],
    )
    session.add(user)
    session.flush()
    return user


def hash_password(password: str) -> str:
    """Argon2id. Raises InvalidFormError when the password is too short or not text."""
    try:
        password.encode()
    except UnicodeEncodeError as error:
        problem = FieldError(N_("This holds a character that cannot be stored."), {})
        raise InvalidFormError({"password": problem}) from error
    if len(password) < PASSWORD_LENGTH:
        problem = FieldError(N_("A password has at least %(length)s characters."), {"length": PASSWORD_LENGTH})
        raise InvalidFormError({"password": problem})
    return _HASHER.hash(password)


def change_password(session: Session, username: str, password: str) -> None:
    """Set a new password and lift a lock. Raises NotFoundError, InvalidFormError."""
    user = _existing(session, username)
    user.password_hash, user.failed_logins, user.locked_until = hash_password(password), 0, None


# ---- who is who -----------------------------------------------------------------------------------------------------


def find(session: Session, username: str) -> User | None:
    """The person with this username, active or not."""
    if not _USERNAME.fullmatch(username):  # whatever a stranger typed need not be storable text
        return None
    return session.scalars(_BY_NAME, {"username": username}).unique().one_or_none()


_BY_NAME = select(User).where(User.username == bindparam("username")).options(joinedload(User.memberships))


def _existing(session: Session, username: str) -> User:
    user = find(session, username)
    if user is None:
        raise NotFoundError(N_("There is no user %(username)s."), username=username)
    return user


def members(session: Session, group: str) -> list[str]:
    """The usernames of the active members of a group, sorted."""
    query = select(User.username).join(Membership).where(Membership.group == group, User.active.is_(True))
    return list(session.scalars(query.order_by(User.username)))


def deputies(session: Session, usernames: Iterable[str], at: datetime) -> dict[str, list[str]]:
    """Who acts for these people at `at`, by the person they act for; active accounts only."""
    query = (
        select(Deputy.username, Deputy.deputy)
        .join(User, User.username == Deputy.deputy)
        .where(Deputy.username.in_(sorted(set(usernames))), Deputy.from_at <= at, Deputy.until_at > at, User.active)
    )
    found: dict[str, list[str]] = {}
    for username, deputy in session.execute(query.order_by(Deputy.id)):
        found.setdefault(username, []).append(deputy)
    return found


def delegate(session: Session, username: str, deputy: str, *, from_at: datetime, until_at: datetime) -> Deputy:
    """Let `deputy` act for `username` during this time.

    Raises:
        NotFoundError: one of them does not exist. InvalidFormError: the time is empty or the deputy is the person.
    """
    _existing(session, username)
    _existing(session, deputy)
    if username == deputy:
        raise InvalidFormError({"deputy": FieldError(N_("Nobody is their own deputy."), {})})
    if from_at >= until_at:
        raise InvalidFormError({"until_at": FieldError(N_("The end must be later than the beginning."), {})})
    row = Deputy(username=username, deputy=deputy, from_at=from_at, until_at=until_at)
    session.add(row)
    session.flush()
    return row


def acting_for(session: Session, username: str, at: datetime) -> set[str]:
    """The other people for whom `username` acts at `at`."""
    query = select(Deputy.username).where(Deputy.deputy == username, Deputy.from_at <= at, Deputy.until_at > at)
    return set(session.scalars(query))


@dataclass(frozen=True)
class Authority:
    """In whose name a person may act: their own, and those they are deputy of, each with their groups."""

    username: str
    groups: dict[str, set[str]] = field(default_factory=dict)

    @property
    def usernames(self) -> set[str]:
        return set(self.groups)


def authority(session: Session, user: User, at: datetime) -> Authority:
    """One query, besides what `user` already carries."""
    query = (
        select(User.username, Membership.group)
        .join(Deputy, Deputy.username == User.username)
        .outerjoin(Membership, Membership.user_id == User.id)
        .where(Deputy.deputy == user.username, Deputy.from_at <= at, Deputy.until_at > at, User.active.is_(True))
    )
    groups = {user.username: user.groups}
    for principal, group in session.execute(query):
        groups.setdefault(principal, set())
        if group is not None:
            groups[principal].add(group)
    return Authority(user.username, groups)


# ---- training records -----------------------------------------------------------------------------------------------


def qualified(session: Session, username: str, key: str, at: datetime) -> bool:
    """Whether a training record of `key` is valid at `at` (clause N1)."""
    query = select(Qualification.id).where(
        Qualification.username == username,
        Qualification.key == key,
        Qualification.valid_from <= at,
        Qualification.valid_until > at,
    )
    return session.scalars(query.limit(1)).one_or_none() is not None


def record_training(
    session: Session,
    username: str,
    key: str,
    *,
    valid_from: datetime,
    valid_until: datetime,
    trainer: str = "",
    score: int | None = None,
) -> Qualification:
    """Enter a training record (clause F2). Raises NotFoundError, InvalidFormError."""
    _existing(session, username)
    if valid_from >= valid_until:
        raise InvalidFormError({"valid_until": FieldError(N_("The end must be later than the beginning."), {})})
    row = Qualification(
        username=username, key=key, valid_from=valid_from, valid_until=valid_until, trainer=trainer, score=score
    )
    session.add(row)
    session.flush()
    return row


# ---- API tokens -----------------------------------------------------------------------------------------------------


def issue_token(session: Session, user: User, *, label: str = "", expires_at: datetime | None = None) -> str:
    """A new bearer token for the API. It is shown this once; only its SHA-256 is stored."""
    token = f"dq_{secrets.token_urlsafe(32)}"
    session.add(
        ApiToken(user=user, digest=_token_digest(token), label=label, created_at=clock.now(), expires_at=expires_at)
    )
    session.flush()
    return token


def user_by_token(session: Session, token: str) -> User | None:
    """The active person whose valid token this is."""
    found = session.scalars(_BY_TOKEN, {"digest": _token_digest(token)}).unique().one_or_none()
    if found is None or not found.user.active:
        return None
    if found.expires_at is not None and found.expires_at <= clock.now():
        return None
    return found.user


_BY_TOKEN = (
    select(ApiToken)
    .where(ApiToken.digest == bindparam("digest"))
    .options(joinedload(ApiToken.user).joinedload(User.memberships))
)


def _token_digest(token: str) -> str:
    return f"sha256:{hashlib.sha256(token.encode(errors='replace')).hexdigest()}"
