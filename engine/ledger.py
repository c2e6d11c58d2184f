"""The ledger: signed statements that certain chain heads existed at a certain time. No database, no clock.

Each entry of the ledger is a seal. It lists the heads of all chains that changed since the seal before, binds them in a
Merkle tree (RFC 6962, section 2.1), names the seal before it, and is signed with Ed25519 (RFC 8032). Whoever holds an
old copy can therefore prove of any later history whether it is still the one that was sealed; docs/ledger-format.md
says how to do that with standard tools.
"""

import base64
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from engine.errors import N_, EngineError
from engine.history import GENESIS, Finding, chain_digest

TITLE = "diaoqu ledger 1"
FIRST = "none"
"""What stands for the statement before the first."""

FIELDS = {
    "process": ("at", "kind", "actor", "payload", "lookups", "derived"),
    "custody": ("at", "kind", "actor", "item", "origin", "details"),
}
"""The kinds of chains, and the columns that the digest of an event covers."""


class LedgerError(EngineError):
    """A file is not a ledger, or not an exported history."""


class Head(NamedTuple):
    """The newest event of a chain when it was sealed; `stream` is the id of the process instance."""

    kind: str
    stream: UUID
    seq: int
    digest: str

    def __str__(self) -> str:
        return f"{self.kind} {self.stream} {self.seq} {self.digest}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Raises LedgerError unless `text` is written exactly as `str` writes it."""
        try:
            kind, stream, seq, digest = text.split(" ")
            found = cls(kind, UUID(stream), int(seq), digest)
        except ValueError as error:
            raise LedgerError(N_("%(text)s is no head of a chain."), text=text[:200]) from error
        if str(found) != text:
            raise LedgerError(N_("%(text)s is no head of a chain."), text=text[:200])
        return found


@dataclass(frozen=True)
class Statement:
    """What is signed: the number of the seal, when, how many heads, their Merkle root, the seal before, the key."""

    number: int
    at: str
    heads: int
    root: str
    previous: str
    key: str

    def __str__(self) -> str:
        return (
            f"{TITLE}\nseal {self.number}\nat {self.at}\nheads {self.heads}\nroot {self.root}\n"
            f"previous {self.previous}\nkey {self.key}\n"
        )

    @property
    def digest(self) -> str:
        """By which the next seal names this one."""
        return sha256(str(self).encode())

    @classmethod
    def parse(cls, text: str) -> "Statement":
        """Raises LedgerError unless `text` is written exactly as `str` writes it."""
        try:
            lines = [line.split(" ", 1)[1] for line in text.splitlines()[1:]]
            number, at, heads, root, previous, key = lines
            datetime.fromisoformat(at)
            found = cls(int(number), at, int(heads), root, previous, key)
        except (ValueError, IndexError) as error:
            raise LedgerError(N_("The signed statement of a seal is not readable.")) from error
        if str(found) != text:
            raise LedgerError(N_("The signed statement of a seal is not readable."))
        return found


@dataclass(frozen=True)
class Entry:
    """A seal with all that is needed to check it: one line of the ledger file.

    `statement` and `heads` are the exact texts that were signed and hashed; `signature` is base64, `public_key` PEM.
    """

    statement: str
    signature: str
    public_key: str
    heads: tuple[str, ...]

    def line(self) -> bytes:
        fields = {
            "statement": self.statement,
            "signature": self.signature,
            "public_key": self.public_key,
            "heads": self.heads,
        }
        return orjson.dumps(fields) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "Entry":
        """Raises LedgerError."""
        try:
            fields = orjson.loads(line)
            statement, signature, public_key = fields["statement"], fields["signature"], fields["public_key"]
            heads = tuple(fields["heads"])
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(N_("This line is no entry of a ledger.")) from error
        if not all(isinstance(text, str) for text in (statement, signature, public_key, *heads)):
            raise LedgerError(N_("This line is no entry of a ledger."))
        return cls(statement, signature, public_key, heads)


# ---- making ---------------------------------------------------------------------------------------------------------


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def merkle_root(leaves: Sequence[bytes]) -> str:
    """The Merkle tree hash of RFC 6962, section 2.1: leaves prefixed with 0x00, inner nodes with 0x01.

    Pairing level by level and carrying an odd last node up is the same tree as the RFC's recursive definition.
    """
    level = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2])]  # noqa: B905 - an odd last node has no partner
        level = pairs + level[len(level) & ~1 :]
    return f"sha256:{(level[0] if level else hashlib.sha256(b'').digest()).hex()}"


def fingerprint(public_key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo in DER: what `openssl pkey -pubin -outform DER | sha256sum` prints."""
    encoded = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256(encoded)


def public_pem(public_key: Ed25519PublicKey) -> str:
    encoded = public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def load_public(pem: str) -> Ed25519PublicKey:
    """Raises LedgerError when `pem` is no Ed25519 public key."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LedgerError(N_("This is no Ed25519 public key in PEM.")) from error
    if not isinstance(key, Ed25519PublicKey):
        raise LedgerError(N_("This is no Ed25519 public key in PEM."))
    return key


def sign(heads: Sequence[Head], previous: Statement | None, at: str, key: Ed25519PrivateKey) -> Entry:
    """The seal that follows `previous`, over `heads`."""
    texts = tuple(str(head) for head in heads)
    statement = Statement(
        number=previous.number + 1 if previous else 1,
        at=at,
        heads=len(texts),
        root=merkle_root([text.encode() for text in texts]),
        previous=previous.digest if previous else FIRST,
        key=fingerprint(key.public_key()),
    )
    signature = base64.b64encode(key.sign(str(statement).encode())).decode()
    return Entry(str(statement), signature, public_pem(key.public_key()), texts)


# ---- checking -------------------------------------------------------------------------------------------------------


def entry_problems(entry: Entry, trusted: Collection[str] | None = None) -> list[str]:
    """What is wrong with a seal by itself. `trusted` are fingerprints of keys; None accepts the key it brings along."""
    try:
        statement = Statement.parse(entry.statement)
        key = load_public(entry.public_key)
        for head in entry.heads:
            Head.parse(head)
    except LedgerError as error:
        return [str(error)]
    problems = []
    if fingerprint(key) != statement.key or public_pem(key) != entry.public_key:
        problems.append("its public key is not the one that it names")
    elif trusted is not None and statement.key not in trusted:
        problems.append(f"it is signed with a key that is not trusted here: {statement.key}")
    try:
        signature = base64.b64decode(entry.signature, validate=True)
        if base64.b64encode(signature).decode() != entry.signature:
            problems.append("its signature is not written as base64 should be")
        key.verify(signature, entry.statement.encode())
    except (InvalidSignature, ValueError):
        problems.append("its signature is wrong")
    if len(entry.heads) != statement.heads or merkle_root([text.encode() for text in entry.heads]) != statement.root:
        problems.append("its heads are not those that were signed")
    return problems


def problems_of(entries: Iterable[Entry], trusted: Collection[str] | None = None) -> Iterator[str]:
    """What is wrong with a ledger: each seal by itself, and how they follow one another."""
    previous: Statement | None = None
    newest: dict[tuple[str, UUID], int] = {}
    for place, entry in enumerate(entries, 1):
        found = entry_problems(entry, trusted)
        yield from (f"seal {place}: {problem}" for problem in found)
        try:
            statement = Statement.parse(entry.statement)
        except LedgerError:
            previous = None
            continue
        if statement.number != place:
            yield f"seal {place}: it is number {statement.number}"
        if place > 1 and (previous is None or statement.previous != previous.digest):
            yield f"seal {place}: it does not follow from the seal before it"
        if place == 1 and statement.previous != FIRST:
            yield "seal 1: there were seals before it"
        if previous is not None and statement.at < previous.at:
            yield f"seal {place}: it is dated earlier than the seal before it"
        previous = statement
        for head in () if found else map(Head.parse, entry.heads):
            if head.seq <= newest.get((head.kind, head.stream), 0):
                yield f"seal {place}: the {head.kind} chain of {head.stream} went backwards"
            newest[head.kind, head.stream] = head.seq


def read(content: bytes) -> list[Entry]:
    """The entries of a ledger file. Raises LedgerError naming the line."""
    entries = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            entries.append(Entry.parse(line))
        except LedgerError as error:
            raise LedgerError(N_("Line %(line)s: this is no entry of a ledger."), line=number) from error
    return entries


def read_history(content: bytes) -> list[dict[str, Any]]:
    """The events of an exported history or log. Raises LedgerError naming the line."""
    lines = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            lines.append(dict(orjson.loads(line)))
        except (ValueError, TypeError) as error:
            raise LedgerError(_NO_EVENT, line=number) from error
    return lines


_NO_EVENT = N_("Line %(line)s: this is no event of an exported history.")


@dataclass(frozen=True)
class Comparison:
    """An exported history held against a ledger. `sealed` is the last event that the ledger vouches for; `known` the
    last that it knows of.
    """

    kind: str
    stream: UUID
    findings: list[Finding]
    events: int
    sealed: int
    known: int


def compare(lines: Sequence[Mapping[str, Any]], entries: Iterable[Entry], *, beginning: bool = False) -> Comparison:
    """Check the chain of an exported history (one instance, one kind) and compare it with every sealed head of it.

    With `beginning` the history may go on in the ledger, as that in a bag does; otherwise what is missing is found.

    Raises:
        LedgerError: `lines` is empty, not an exported history (names the line), or of several instances.
    """
    try:
        kind = "process" if "payload" in lines[0] else "custody"
        for number, line in enumerate(lines, 1):
            if line.keys() != {"instance", "seq", *FIELDS[kind], "digest"}:
                raise LedgerError(_NO_EVENT, line=number)
            if line["instance"] != lines[0]["instance"]:
                told = N_("Line %(line)s is of another instance: compare histories of several instances one by one.")
                raise LedgerError(told, line=number)
        stream = UUID(lines[0]["instance"])
        findings = _chain(lines, stream, FIELDS[kind])
        digests = {line["seq"]: line["digest"] for line in lines}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise LedgerError(N_("This is no exported history with its instance.")) from error
    heads = ((number, Head.parse(text)) for number, entry in enumerate(entries, 1) for text in entry.heads)
    ours = [(number, head) for number, head in heads if (head.kind, head.stream) == (kind, stream)]
    known = max((head.seq for _number, head in ours), default=0)
    if beginning:
        ours = [(number, head) for number, head in ours if head.seq <= max(digests)]
    more, sealed = contradictions(digests, ours)
    return Comparison(kind, stream, findings + more, len(lines), sealed, known)


def contradictions(digests: Mapping[int, str], sealed: Iterable[tuple[int, Head]]) -> tuple[list[Finding], int]:
    """Where a history (`digests` by sequence number) is not what was sealed (number of the seal, head); and the last
    event up to which it is.
    """
    findings, last = [], 0
    for number, head in sealed:
        if head.seq not in digests:
            findings.append(Finding(head.seq, f"it is missing, but seal {number} holds it"))
        elif digests[head.seq] != head.digest:
            findings.append(Finding(head.seq, f"up to here the history is not the one that seal {number} holds"))
        else:
            last = max(last, head.seq)
    return findings, last


def _chain(lines: Sequence[Mapping[str, Any]], stream: UUID, fields: Sequence[str]) -> list[Finding]:
    findings, previous = [], GENESIS
    for expected, line in enumerate(lines, 1):
        if line["seq"] != expected:
            findings.append(Finding(line["seq"], f"event {expected} should stand here"))
        parts = [line[field].encode() for field in fields]
        if line["digest"] != chain_digest(stream, line["seq"], parts, previous):
            findings.append(Finding(line["seq"], "its content is not what was hashed when it was written"))
        previous = line["digest"]
    return findings
