"""Who may use the recorder: WS-Security UsernameToken (ONVIF Core 5.9) and HTTP digest (RFC 7616), also for RTSP.

Both are checked as real recorders do: a UsernameToken whose time is far from the recorder's clock is refused.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

REALM = "Simulated recorder"
CLOCK_TOLERANCE = timedelta(seconds=20)
_ALGORITHMS = ("SHA-256", "MD5")
"""Strongest first; clients that keep the last challenge they see still get one that they know."""

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Gatekeeper:
    """Checks credentials; without a username everybody may come in."""

    def __init__(self, username: str | None, password: str | None, now: Callable[[], datetime]) -> None:
        self._username = username
        self._password = password or ""
        self._now = now
        # Bounded: a client that never answers its challenges costs no memory.
        self._nonces: deque[str] = deque(maxlen=1000)

    @property
    def open(self) -> bool:
        return self._username is None

    def challenges(self) -> list[str]:
        """Values for WWW-Authenticate headers, one for each algorithm."""
        nonce = secrets.token_hex(16)
        self._nonces.append(nonce)
        return [f'Digest realm="{REALM}", qop="auth", nonce="{nonce}", algorithm={name}' for name in _ALGORITHMS]

    def accepts_digest(self, authorization: str, method: str) -> bool:
        """Whether an Authorization header answers one of our challenges with the right password."""
        scheme, _, rest = authorization.partition(" ")
        if self.open:
            return True
        if scheme.lower() != "digest":
            return False
        given = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
        nonce, algorithm = given.get("nonce", ""), given.get("algorithm", "MD5").upper()
        if given.get("username") != self._username or nonce not in self._nonces or algorithm not in _ALGORITHMS:
            return False

        def digest(*parts: str) -> str:
            data = ":".join(parts).encode()
            if algorithm == "MD5":
                return hashlib.md5(data, usedforsecurity=False).hexdigest()
            return hashlib.sha256(data).hexdigest()

        secret = digest(self._username or "", REALM, self._password)
        request = digest(method, given.get("uri", ""))
        if given.get("qop"):
            expected = digest(secret, nonce, given.get("nc", ""), given.get("cnonce", ""), given["qop"], request)
        else:
            expected = digest(secret, nonce, request)
        return hmac.compare_digest(expected, given.get("response", "").lower())

    def accepts_token(self, username: str, password: str, nonce: str, created: str) -> bool:
        """Whether a UsernameToken of type PasswordDigest is right and of this minute, by the recorder's clock."""
        try:
            stamp = datetime.fromisoformat(created)
            salt = base64.b64decode(nonce, validate=True)
        except (ValueError, binascii.Error):
            return False
        stamp = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
        if username != self._username or abs(stamp - self._now()) > CLOCK_TOLERANCE:
            return False
        hashed = hashlib.sha1(salt + created.encode() + self._password.encode(), usedforsecurity=False).digest()
        return hmac.compare_digest(base64.b64encode(hashed).decode(), password)
