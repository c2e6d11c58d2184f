"""Digest authentication for RTSP (RFC 2069, RFC 7616): MD5 and SHA-256, the stronger one when both are offered."""

import base64
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

ALGORITHMS = {"MD5": 1, "SHA-256": 2}
_FIELD = re.compile(r'\b(\w{1,40})\s{0,8}=\s{0,8}(?:"([^"\r\n]*)"|([^\s,"]+))')
"""Begins at a word and is bounded, so that reading a hostile challenge takes no longer than it is long."""


@dataclass(frozen=True)
class Challenge:
    """What a server sent in `WWW-Authenticate`."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    named: bool = False
    qop: bool = False
    opaque: str = ""
    stale: bool = False

    @classmethod
    def strongest(cls, offers: Iterable[str]) -> "Challenge | None":
        """The best Digest challenge of all headers; None when none is understood."""
        best: Challenge | None = None
        for offer in offers:
            if not offer.lower().startswith("digest"):
                continue
            fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(offer[:4096])}
            algorithm = fields.get("algorithm", "MD5").upper()
            if algorithm not in ALGORITHMS or "nonce" not in fields:
                continue
            if best is None or ALGORITHMS[algorithm] > ALGORITHMS[best.algorithm]:
                best = cls(
                    realm=fields.get("realm", ""),
                    nonce=fields["nonce"],
                    algorithm=algorithm,
                    named="algorithm" in fields,
                    qop="auth" in re.split(r"[,\s]+", fields.get("qop", "")),
                    opaque=fields.get("opaque", ""),
                    stale=fields.get("stale", "").lower() == "true",
                )
        return best


class DigestLogin:
    """Answers one challenge for any number of requests."""

    def __init__(self, challenge: Challenge, username: str, password: str) -> None:
        self.challenge = challenge
        self.username = username
        self._password = password
        self._count = 0

    def header(self, method: str, uri: str, nonce: str | None = None) -> str:
        """The value of `Authorization`; `nonce` fixes the client's own nonce."""
        challenge = self.challenge
        secret = self._hash(f"{self.username}:{challenge.realm}:{self._password}")
        request = self._hash(f"{method}:{uri}")
        parts = [
            f'username="{_quoted(self.username)}"',
            f'realm="{challenge.realm}"',
            f'nonce="{challenge.nonce}"',
            f'uri="{uri}"',
        ]
        if challenge.qop:
            self._count += 1
            count = f"{self._count:08x}"
            own = nonce or os.urandom(8).hex()
            response = self._hash(":".join((secret, challenge.nonce, count, own, "auth", request)))
            parts += [f'response="{response}"', "qop=auth", f"nc={count}", f'cnonce="{own}"']
        else:
            parts.append(f'response="{self._hash(f"{secret}:{challenge.nonce}:{request}")}"')
        if challenge.named:
            parts.append(f"algorithm={challenge.algorithm}")
        if challenge.opaque:
            parts.append(f'opaque="{challenge.opaque}"')
        return "Digest " + ", ".join(parts)

    @staticmethod
    def basic(username: str, password: str) -> str:
        return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def _hash(self, text: str) -> str:
        if self.challenge.algorithm == "SHA-256":
            return hashlib.sha256(text.encode()).hexdigest()
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _quoted(text: str) -> str:
    return re.sub(r"[\r\n]", "", text).replace("\\", "\\\\").replace('"', '\\"')
