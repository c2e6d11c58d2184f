"""Personal fields: encrypted with a key per case before they enter the kernel, so that they can be erased for ever.

What a form marks as personal becomes an *envelope* at the edge, a text that the kernel carries like any other: history,
snapshots, data, signatures and bags hold nothing else, hashes cover it, and re-execution needs no key. Envelopes are
opened at the edges again: pages, forms on paper, operators that ask for it. docs/personal-data.md is the whole story.
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from secrets import token_bytes
from typing import Any
from uuid import UUID, uuid5

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from engine import clock, definitions
from engine.db import destroying, master_key
from engine.errors import N_, EngineError, FieldError, InvalidFormError
from engine.forms import Form
from engine.models import HistoryEvent, Instance, PersonalKey

MARK = "personal:1:"
"""How an envelope begins; then the nonce (12 bytes), ciphertext and tag (16 bytes) in URL-safe base64."""

BLOCK = 32
"""Values are padded to a multiple of this many bytes: what is erased must not live on as a length."""

_NONCE = 12
_DRAFTS = UUID("b5bd0d1c-7c36-4d0c-9a53-5ac0ab1a3a0e")
_SIGN = "0-9A-Za-z０-９Ａ-Ｚａ-ｚ"
_WORD = f"(?=[A-Za-zＡ-Ｚａ-ｚ]*[0-9０-９])[{_SIGN}]+"
_NUMBER = re.compile(f"(?<![{_SIGN}]){_WORD}(?:[ ()+./-]{{1,2}}{_WORD})*")
"""Latin words with a digit in them, one or more in a row: telephones, papers, police and employee numbers."""

_EMPTY: tuple[Any, ...] = (None, "", [])
"""Nothing was entered: there is nothing to hide, and a form shows it as empty."""


class PersonalDataError(EngineError):
    """Personal data cannot be read: it was altered, belongs to another case, or its key is not the right one."""


class ErasedError(PersonalDataError):
    """Personal data was erased by a disposal; nobody can read it any more."""


@dataclass(frozen=True)
class CaseKey:
    """The key of one case. The same value gives the same envelope: a signed text is made twice (clause 1.2)."""

    id: UUID
    secret: bytes = field(repr=False)

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(_derived(self.secret, b"values"))

    @cached_property
    def _nonces(self) -> bytes:
        return _derived(self.secret, b"nonces")

    def seal(self, value: Any) -> str:
        """The envelope of a JSON value."""
        text = orjson.dumps(value)
        padded = text.ljust(-(-len(text) // BLOCK) * BLOCK)  # JSON ignores spaces at its end
        # No nonce serves two values: it is a keyed digest of what it encrypts.
        nonce = hmac.digest(self._nonces, padded, "sha256")[:_NONCE]
        return MARK + urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, padded, self.id.bytes)).decode()

    def open(self, envelope: str) -> Any:
        """The value in an envelope. Raises PersonalDataError when it was altered or is not of this case."""
        try:
            raw = urlsafe_b64decode(envelope.removeprefix(MARK).encode())
            return orjson.loads(self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], self.id.bytes))
        except (InvalidTag, ValueError) as error:
            raise PersonalDataError(
                N_("Personal data cannot be read: it was altered or is of another case.")
            ) from error


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=32, info=b"diaoqu personal 1 " + purpose).derive(secret)


# ---- envelopes ------------------------------------------------------------------------------------------------------


def is_envelope(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(MARK)


def envelopes(value: Any) -> Iterator[str]:
    """The envelopes anywhere in a JSON value."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from envelopes(item)
    elif isinstance(value, list):
        for item in value:
            yield from envelopes(item)
    elif is_envelope(value):
        yield value


def replaced(value: Any, change: Callable[[str], Any]) -> Any:
    """A copy of a JSON value with every envelope changed."""
    if isinstance(value, Mapping):
        return {key: replaced(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, change) for item in value]
    return change(value) if is_envelope(value) else value


def refuse(value: Any, where: str = "data") -> None:
    """Nobody hands in what looks like an envelope: it would be shown as what another envelope holds.

    Raises:
        InvalidFormError: its only field is the path to it.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            refuse(item, f"{where}.{key}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            refuse(item, f"{where}[{place}]")
    elif isinstance(value, str) and value.strip().startswith(MARK):
        raise InvalidFormError({where: FieldError(N_("This looks like encrypted data and cannot be stored."), {})})


# ---- sealing --------------------------------------------------------------------------------------------------------


def seal_form(
    session: Session, key_id: UUID, form: Form, clean: Mapping[str, Any], *, first: bool = False
) -> dict[str, Any]:
    """The clean values of a form with its personal fields in envelopes, under the key with this id.

    With `first`, this is probably the first personal data under that key, and no query asks for it.

    Raises:
        PersonalDataError: the session knows no DIAOQU_SECRET_KEY, or not the one that the key was stored with.
    """
    return _seal(session, key_id, clean, {field.key for field in form.inputs if field.personal}, first=first)


def seal_data(session: Session, instance: Instance, data: Mapping[str, Any]) -> dict[str, Any]:
    """Process data by which an instance is corrected, with what its forms call personal in envelopes.

    A personal field may be given as the envelope that the instance has already. Raises as `seal_entering`.
    """
    known = list(envelopes(instance.data))
    return seal_entering(session, instance.id, instance.definition_id, data, known=known)


def seal_entering(
    session: Session, key_id: UUID, definition_id: int, data: Mapping[str, Any], *, known: Collection[str] = ()
) -> dict[str, Any]:
    """Process data that enters beside the forms, with what the forms of this version call personal in envelopes.

    Raises:
        InvalidFormError: something in it looks like an envelope, and is none of the `known` ones in its place.
        PersonalDataError: as `seal_form`.
    """
    found, rest = dict(data), dict(data)
    for variable, keys in definitions.personal_fields(session, definition_id).items():
        inner = found if not variable else found.get(variable)
        if not isinstance(inner, Mapping):
            continue
        kept = {key for key in keys if inner.get(key) in known}
        sealed = _seal(session, key_id, inner, keys - kept)
        left = {key: value for key, value in inner.items() if key not in kept}
        if variable:
            found[variable], rest[variable] = sealed, left
        else:
            found, rest = sealed, {key: value for key, value in rest.items() if key not in kept}
    refuse(rest)
    return found


def moved(session: Session, old: UUID, new: UUID, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of one instance for another that repeats a part of it: the same values under the key of the new one.

    Raises:
        ErasedError, PersonalDataError: they cannot be read.
    """
    if next(envelopes(data), None) is None:
        return dict(data)
    before, after = key_of(session, old), _kept_key(session, new)
    found: dict[str, Any] = replaced(data, lambda envelope: after.seal(before.open(envelope)))
    return found


def seal_anew(session: Session, key_id: UUID, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that somebody corrected: what was personal before is so again. Raises as `seal_form`."""
    names = {name for name, value in after.items() if is_envelope(before.get(name)) and not is_envelope(value)}
    return _seal(session, key_id, after, names)


def _seal(
    session: Session,
    key_id: UUID,
    values: Mapping[str, Any],
    names: set[str] | frozenset[str],
    *,
    first: bool = False,
) -> dict[str, Any]:
    plain = [name for name in names if values.get(name) not in _EMPTY]
    if not plain:
        return dict(values)
    key = _kept_key(session, key_id, first=first)
    return {**values, **{name: key.seal(values[name]) for name in plain}}


# ---- opening --------------------------------------------------------------------------------------------------------


def opened(
    session: Session, key_id: UUID, value: Any, *, instead: Callable[[PersonalDataError], Any] | None = None
) -> Any:
    """A copy of `value` with every envelope opened. For the edges only: what it answers must not be stored.

    `instead` gives what stands for an envelope that cannot be opened.

    Raises:
        ErasedError, PersonalDataError: an envelope cannot be opened, and there is no `instead`.
    """
    if next(envelopes(value), None) is None:
        return value
    try:
        key = key_of(session, key_id)
    except PersonalDataError as error:
        if instead is None:
            raise
        word = instead(error)
        return replaced(value, lambda _: word)

    def open_one(envelope: str) -> Any:
        try:
            return key.open(envelope)
        except PersonalDataError as error:
            if instead is None:
                raise
            return instead(error)

    return replaced(value, open_one)


def masked(value: Any) -> Any:
    """A personal value as pages and forms show it: the middle of numbers hidden, names readable.

    `110101199001011234` → `110***********1234`; numbers of five to ten signs keep their last two.
    """
    if isinstance(value, list):
        return [masked(item) for item in value]
    if not isinstance(value, str):
        return value
    return _NUMBER.sub(lambda found: _hidden(found[0]), value)


def _hidden(number: str) -> str:
    places = [place for place, sign in enumerate(number) if sign.isalnum()]
    first, last = (3, 4) if len(places) >= 11 else (0, 2)
    hidden = places[first : len(places) - last] if len(places) > 4 else []
    return "".join("*" if place in hidden else sign for place, sign in enumerate(number))


# ---- keys -----------------------------------------------------------------------------------------------------------


def key_of(session: Session, key_id: UUID) -> CaseKey:
    """The key of a process instance (or draft).

    Raises:
        ErasedError: a disposal has destroyed it. PersonalDataError: it is missing, or DIAOQU_SECRET_KEY has changed.
    """
    key = _find(session, key_id)
    if key is not None:
        return key
    query = select(HistoryEvent.payload).where(HistoryEvent.instance_id == key_id, HistoryEvent.kind == "erase")
    erased = session.scalars(query.limit(1)).one_or_none()
    if erased is not None:
        disposal = orjson.loads(erased)["disposal"]
        raise ErasedError(N_("Erased by the disposal %(disposal)s"), disposal=disposal)
    raise PersonalDataError(N_("Personal data cannot be read: the key of this case is missing."))


def has_key(session: Session, key_id: UUID) -> bool:
    return session.scalar(select(PersonalKey.id).where(PersonalKey.id == key_id)) is not None


def draft_key(username: str, key: str) -> UUID:
    """The id of the key of a draft, which goes with the draft: nothing of a case is in it."""
    return uuid5(_DRAFTS, f"{username} {key}")


def _find(session: Session, key_id: UUID) -> CaseKey | None:
    wrapped = session.scalar(select(PersonalKey.wrapped).where(PersonalKey.id == key_id))
    if wrapped is None:
        return None
    raw = urlsafe_b64decode(wrapped)
    try:
        secret = AESGCM(master_key(session)).decrypt(raw[:_NONCE], raw[_NONCE:], key_id.bytes)
    except InvalidTag as error:
        raise PersonalDataError(
            N_("Personal data cannot be read: DIAOQU_SECRET_KEY is not the one that it was stored with.")
        ) from error
    return CaseKey(key_id, secret)


def _kept_key(session: Session, key_id: UUID, *, first: bool = False) -> CaseKey:
    """The key of this id, made when there is none yet."""
    found = None if first else _find(session, key_id)
    if found is not None:
        return found
    key, nonce = CaseKey(key_id, token_bytes(32)), token_bytes(_NONCE)
    wrapped = nonce + AESGCM(master_key(session)).encrypt(nonce, key.secret, key_id.bytes)
    row = {"id": key_id, "wrapped": urlsafe_b64encode(wrapped).decode(), "created_at": clock.now()}
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    stored = session.scalar(insert(PersonalKey).values(row).on_conflict_do_nothing().returning(PersonalKey.id))
    if stored is None:  # it was not the first, or another transaction has just made it
        return key_of(session, key_id)
    return key


def destroy_key(session: Session, key_id: UUID) -> bool:
    """Overwrite and delete a key; whether there was one. Nothing that it encrypted can be read any more."""
    noise = urlsafe_b64encode(token_bytes(_NONCE + 48)).decode()
    mine = PersonalKey.id == key_id
    with destroying(session):
        found = session.execute(update(PersonalKey).where(mine).values(wrapped=noise).returning(PersonalKey.id))
        there = found.one_or_none() is not None
        session.execute(delete(PersonalKey).where(mine))
    return there
