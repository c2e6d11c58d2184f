"""HTTP to a recorder's own interface: digest sign-in, limits of time and size, no redirects, no proxies, no entities.

Only the registered host is ever contacted.
"""

import re
import ssl
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import requests
from lxml import etree
from requests.adapters import HTTPAdapter

from device.limits import TokenBucket
from device.recorders.base import (
    N_,
    DiskFullError,
    RecorderBusyError,
    RecorderRefusedError,
    RecorderUnreachableError,
)
from device.recorders.soap import UNTRUSTED, BoundedAdapter, HttpDigest
from device.recorders.trust import TrustingAdapter

ELSEWHERE = N_("The recorder sends us to another address: register that one.")


class MissingError(RecorderRefusedError):
    """The recorder has no such resource (404), or not on this firmware."""


class Web:
    """Requests to one recorder.

    Raises (all methods):
        RecorderUnreachableError: no connection, no answer in time, or one that cannot be read.
        RecorderRefusedError: wrong user or password, or the recorder says no; MissingError for 404.
        RecorderBusyError: 503.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        bucket: TokenBucket | None = None,
    ) -> None:
        parts = urlsplit(url)
        try:
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise RecorderRefusedError(
                N_("The recorder's address is not valid: %(error)s."), error=str(error)
            ) from error
        if parts.scheme not in ("http", "https") or not host:
            raise RecorderRefusedError(
                N_("The recorder's address must begin with http:// or https:// and name a host.")
            )
        self.host = f"[{host}]" if ":" in host else host
        self.base = urlunsplit((parts.scheme, f"{self.host}:{port}" if port else self.host, "", "", ""))
        self._timeout = timeout
        self._bucket = bucket
        self._session = self._open(username, password, BoundedAdapter(timeout, tls))
        self._streaming = self._open(username, password, TrustingAdapter(tls))

    def _open(self, username: str, password: str, adapter: HTTPAdapter) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.max_redirects = 0
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        if username:
            session.auth = HttpDigest(username, password)
        return session

    def close(self) -> None:
        self._session.close()
        self._streaming.close()

    def get(self, path: str, **query: str) -> bytes:
        return self._ask("GET", path, query).content

    def post(self, path: str, body: bytes) -> bytes:
        return self._ask("POST", path, {}, body).content

    def save(
        self,
        method: str,
        path: str,
        target: Path,
        body: bytes | None = None,
        *,
        check: Callable[[int], None],
        **query: str,
    ) -> int:
        """Write an answer of any length to a file; `check` gets the bytes so far and may raise. The number of bytes."""
        size = 0
        response = self._ask(method, path, query, body, stream=True)
        with closing(response):
            promised = response.headers.get("Content-Length", "")
            try:
                with target.open("wb") as file:
                    for block in response.iter_content(1 << 16):
                        size += len(block)
                        check(size)
                        file.write(block)
                        if self._bucket is not None:  # what is not read fills the line, and the recorder waits
                            self._bucket.wait(len(block))
            except requests.RequestException as error:
                raise RecorderUnreachableError(N_("The connection broke while the recorder sent a file.")) from error
            except OSError as error:
                raise DiskFullError(
                    N_("The recorder's file cannot be written: %(reason)s."), reason=error.strerror
                ) from error
        if promised.isdigit() and int(promised) != size:
            raise RecorderUnreachableError(N_("The connection broke while the recorder sent a file."))
        return size

    def _ask(
        self, method: str, path: str, query: dict[str, str], body: bytes | None = None, *, stream: bool = False
    ) -> requests.Response:
        tail = "&".join(f"{quote(key, safe='.[]')}={quote(value, safe=':-_.')}" for key, value in query.items())
        address = f"{self.base}{path}{'?' if tail else ''}{tail}"
        session = self._streaming if stream else self._session
        headers = {"Content-Type": "application/xml"} if body is not None else {}
        what = path.rsplit("/", 1)[-1]
        try:
            response = session.request(
                method, address, data=body, headers=headers, timeout=self._timeout, stream=stream, allow_redirects=False
            )
        except requests.TooManyRedirects as error:
            raise RecorderRefusedError(ELSEWHERE) from error
        except requests.Timeout as error:
            raise RecorderUnreachableError(N_("The recorder did not answer %(what)s in time."), what=what) from error
        except requests.exceptions.SSLError as error:
            raise RecorderRefusedError(UNTRUSTED) from error
        except (requests.RequestException, OSError) as error:
            raise RecorderUnreachableError(N_("No connection to the recorder (%(what)s)."), what=what) from error
        status = response.status_code
        if status == 200:
            return response
        response.close()
        if status in (401, 403):
            raise RecorderRefusedError(N_("The recorder does not accept the user name or the password."))
        if status == 404:
            raise MissingError(N_("The recorder does not know %(what)s (404)."), what=what)
        if status == 503:
            raise RecorderBusyError(N_("The recorder is busy (503)."))
        if 300 <= status < 400:
            raise RecorderRefusedError(ELSEWHERE)
        raise RecorderRefusedError(
            N_("The recorder answered %(what)s with status %(status)s."), what=what, status=status
        )


def parsed(content: bytes, what: str) -> etree._Element:
    """An XML answer, read without entities or network. Raises RecorderUnreachableError when it is none."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise RecorderUnreachableError(
            N_("The recorder answered %(what)s with no XML: is this its address?"), what=what
        ) from error


def facts(content: bytes) -> dict[str, str]:
    """The `key=value` lines of an answer; at most 100 000 of them."""
    found: dict[str, str] = {}
    for line in content.decode("utf-8", "replace").splitlines()[:100_000]:
        key, separator, value = line.strip().partition("=")
        if separator:
            found[key[:200]] = value[:2000]
    return found


def clean(text: str) -> str:
    """A name from a recorder, fit to be stored and shown."""
    return "".join(letter for letter in re.sub(r"\s+", " ", text) if letter.isprintable()).strip()[:200]


def true_time() -> datetime:
    return datetime.now(UTC)
