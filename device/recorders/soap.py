"""ONVIF's SOAP calls through onvif-zeep and zeep, with their traps removed (docs/recorders.md).

onvif-zeep's camera class asks for too little (service addresses), does too much (a pull point, proxy variables, logging
set-up) and has no time limits. So only its WSDLs and its service class are used: addresses come from GetServices,
answers are taken raw and read with a hardened parser, because recorders write times that no schema allows.
A recorder is only ever contacted at the host that the administrator gave.
"""

import importlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from lxml import etree
from requests.auth import AuthBase

from device.digest import Challenge, DigestLogin
from device.recorders.base import N_, RecorderRefusedError, RecorderUnreachableError
from device.recorders.trust import TrustingAdapter

UNTRUSTED = N_("The recorder's certificate is not trusted: give its own certificate, or that of its authority.")
MAX_ANSWER = 16 * 1024 * 1024
_NOT_ALLOWED = ("notauthorized", "not authorized", "unauthorized", "failedauthentication", "authority failure")


@contextmanager
def _quiet_root() -> Iterator[None]:
    """onvif-zeep calls logging.basicConfig when it is imported; with a handler in place that does nothing."""
    root, guard = logging.getLogger(), logging.NullHandler()
    root.addHandler(guard)
    try:
        yield
    finally:
        root.removeHandler(guard)


with _quiet_root():
    onvif = importlib.import_module("onvif")
    definition = importlib.import_module("onvif.definition")
WSDL = Path(str(onvif.__file__)).parent.parent / "wsdl"
zeep = importlib.import_module("zeep")
username_token = importlib.import_module("zeep.wsse.username")


@lru_cache
def _document(name: str) -> Any:
    """The WSDL that onvif-zeep brings for a service, parsed once per process."""
    path = str(WSDL / definition.SERVICES[name]["wsdl"])
    return zeep.wsdl.Document(path, zeep.Transport(), settings=zeep.Settings(strict=False))


class Token:
    """The WS-Security token of each request, dated by the recorder's clock, since a recorder whose clock is off refuses
    ours. As long as `offset` is unknown no token is sent: asking for the recorder's time needs none.
    """

    def __init__(self, username: str, password: str, now: Callable[[], datetime]) -> None:
        self.username = username
        self._password = password
        self._now = now
        self.offset: timedelta | None = None

    def apply(self, envelope: Any, headers: Any) -> Any:
        if self.offset is None:
            return envelope, headers
        created = (self._now() + self.offset).replace(tzinfo=None, microsecond=0)
        token = username_token.UsernameToken(
            self.username, self._password, use_digest=True, created=created, zulu_timestamp=True
        )
        return token.apply(envelope, headers)

    def verify(self, envelope: Any) -> None:
        """Answers are not signed in ONVIF."""


class Wire:
    """Calls to one recorder. `call` gives the first element of the SOAP body.

    Raises (all methods):
        RecorderUnreachableError: no connection, no answer within `timeout`, or an answer that is not SOAP.
        RecorderRefusedError: wrong user or password, a service that is missing, or a fault.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        timeout: float,
        now: Callable[[], datetime],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        try:
            host, self.port = parts.hostname or "", parts.port
        except ValueError as error:
            raise RecorderRefusedError(
                N_("The recorder's address is not valid: %(error)s."), error=str(error)
            ) from error
        if parts.scheme not in ("http", "https") or not host:
            raise RecorderRefusedError(
                N_("The recorder's address must begin with http:// or https:// and name a host.")
            )
        self.host = f"[{host}]" if ":" in host else host
        self.scheme = parts.scheme
        path = parts.path if parts.path not in ("", "/") else "/onvif/device_service"
        self.url = urlunsplit((parts.scheme, self._netloc(self.port), path, "", ""))
        self.token = Token(username, password, now) if username else None
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.max_redirects = 0
        adapter = BoundedAdapter(timeout, tls)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)
        if username:
            self.session.auth = HttpDigest(username, password)
        self._transport = zeep.Transport(session=self.session, timeout=timeout, operation_timeout=timeout)
        self._addresses: dict[str, str] = {}
        self._services: dict[str, Any] = {}

    def close(self) -> None:
        self.session.close()

    @property
    def services(self) -> tuple[str, ...]:
        """The namespaces of the recorder's services."""
        return tuple(sorted(self._addresses))

    def find_services(self) -> None:
        """Ask GetServices for the addresses of all services; hosts are replaced by the one that was registered."""
        answer = self.call("devicemgmt", "GetServices", IncludeCapability=False)
        for service in answer.iter("{*}Service"):
            namespace, address = text(service, "Namespace"), text(service, "XAddr")
            if namespace and address:
                self._addresses[namespace] = self.at_home(address)

    def has(self, name: str) -> bool:
        return definition.SERVICES[name]["ns"] in self._addresses

    def at_home(self, address: str) -> str:
        """An address that the recorder gave, on the registered host: behind NAT it names one that is not ours to call.

        The port stays when the host was the same one, and becomes the registered one when it was not.
        """
        parts = urlsplit(address)
        try:
            same, port = parts.hostname == self.host.strip("[]"), parts.port
        except ValueError:
            same, port = False, None
        if same and parts.scheme in ("http", "https"):
            return urlunsplit((parts.scheme, self._netloc(port), parts.path, parts.query, ""))
        return urlunsplit((self.scheme, self._netloc(self.port), parts.path, parts.query, ""))

    def call(self, name: str, operation: str, /, **parameters: Any) -> etree._Element:
        """Call an operation of a service (by onvif-zeep's name for it)."""
        try:
            response = getattr(self._service(name), operation)(parameters)
        except Exception as error:
            raise _translated(error, operation) from error
        return _body(response, operation)

    def _netloc(self, port: int | None) -> str:
        return f"{self.host}:{port}" if port else self.host

    def _service(self, name: str) -> Any:
        service = self._services.get(name)
        if service is None:
            described = definition.SERVICES[name]
            address = self.url if name == "devicemgmt" else self._addresses.get(described["ns"])
            if address is None:
                raise RecorderRefusedError(
                    N_("The recorder has no %(name)s service: it is no ONVIF Profile G recorder."), name=name
                )
            client = zeep.Client(
                _document(name),
                wsse=self.token,
                transport=self._transport,
                settings=zeep.Settings(strict=False, raw_response=True, xml_huge_tree=False),
            )
            path = str(WSDL / described["wsdl"])
            service = self._services[name] = onvif.ONVIFService(
                address,
                self.token.username if self.token else "",
                "",
                path,
                zeep_client=client,
                binding_name=f"{{{described['ns']}}}{described['binding']}",
            )
        return service


class HttpDigest(AuthBase):
    """HTTP digest with the strongest algorithm that the recorder offers; never Basic."""

    def __init__(self, username: str, password: str) -> None:
        self._username, self._password = username, password
        self._login: DigestLogin | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._login is not None:
            request.headers["Authorization"] = self._login.header(request.method or "POST", request.path_url)
        request.hooks.setdefault("response", []).append(self._challenged)
        return request

    def _challenged(self, response: requests.Response, **options: Any) -> requests.Response:
        """Answer a challenge once; a second refusal is the caller's to see."""
        challenge = Challenge.strongest(response.raw.headers.getlist("WWW-Authenticate"))
        if response.status_code != 401 or challenge is None:
            return response
        self._login = DigestLogin(challenge, self._username, self._password)
        again = response.request.copy()
        again.headers["Authorization"] = self._login.header(again.method or "POST", again.path_url)
        return response.connection.send(again, **options)


class BoundedAdapter(TrustingAdapter):
    """Reads answers only up to a size and for a time: a hostile recorder may send for ever."""

    def __init__(self, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self._limit = timeout

    def send(self, request: Any, stream: bool = False, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ARG002 - as in requests
        response = super().send(request, True, *args, **kwargs)
        deadline = time.monotonic() + 3 * self._limit
        parts: list[bytes] = []
        size = 0
        for part in response.iter_content(65536):
            size += len(part)
            parts.append(part)
            if size > MAX_ANSWER or time.monotonic() > deadline:
                response.close()
                raise requests.exceptions.ContentDecodingError("the answer is too long", request=request)
        response._content = b"".join(parts)
        return response


def _translated(error: Exception, operation: str) -> RecorderUnreachableError | RecorderRefusedError:
    """What onvif-zeep, zeep and requests raise, as ours. onvif-zeep keeps the cause as context."""
    cause: BaseException = error
    while not isinstance(cause, requests.RequestException | RecorderRefusedError | OSError):
        deeper = cause.__cause__ or cause.__context__
        if deeper is None:
            break
        cause = deeper
    if isinstance(cause, RecorderRefusedError):
        return cause
    if isinstance(cause, requests.TooManyRedirects):
        return RecorderRefusedError(N_("The recorder sends us to another address: register that one."))
    if isinstance(cause, requests.Timeout):
        return RecorderUnreachableError(N_("The recorder did not answer %(operation)s in time."), operation=operation)
    if isinstance(cause, requests.exceptions.SSLError):
        return RecorderRefusedError(UNTRUSTED)
    if isinstance(cause, requests.RequestException | OSError):
        return RecorderUnreachableError(
            N_("No connection to the recorder (%(operation)s): %(cause)s."), operation=operation, cause=_brief(cause)
        )
    return RecorderRefusedError(
        N_("The recorder and we do not understand each other (%(operation)s): %(cause)s."),
        operation=operation,
        cause=_brief(cause),
    )


def _brief(error: BaseException) -> str:
    words = str(error).strip() or type(error).__name__
    return words.rsplit("Caused by ", 1)[-1][:300].rstrip(".")


def _body(response: Any, operation: str) -> etree._Element:
    if response.status_code in (401, 403):
        raise RecorderRefusedError(N_("The recorder does not accept the user name or the password."))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        envelope = etree.fromstring(response.content, parser)
    except etree.XMLSyntaxError as error:
        raise RecorderUnreachableError(
            N_("The recorder answered %(operation)s with status %(status)s and no SOAP: is this its address?"),
            operation=operation,
            status=response.status_code,
        ) from error
    body = envelope.find("{*}Body")
    first: etree._Element | None = next(iter(body), None) if body is not None else None
    if first is None:
        raise RecorderUnreachableError(
            N_("The recorder answered %(operation)s with an empty message."), operation=operation
        )
    if isinstance(first.tag, str) and etree.QName(first).localname == "Fault":
        words = " ".join(part.strip() for part in first.itertext() if isinstance(part, str) and part.strip())[:300]
        if any(sign in words.lower() for sign in _NOT_ALLOWED):
            raise RecorderRefusedError(N_("The recorder does not accept the user name or the password."))
        raise FaultError(
            N_("The recorder refused %(operation)s: %(reason)s."),
            operation=operation,
            reason=words or "without a reason",
        )
    return first


class FaultError(RecorderRefusedError):
    """The recorder answered with a SOAP fault other than a refused sign-in."""


def text(element: etree._Element, path: str) -> str:
    """The text of the first descendant with these local names (like `Source/Name`), or an empty text."""
    found: etree._Element | None = element
    for name in path.split("/"):
        found = next((child for child in found if _local(child) == name), None) if found is not None else None
    return (found.text or "").strip() if found is not None else ""


def _local(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def simple_items(element: etree._Element) -> Mapping[str, str]:
    """All SimpleItem elements of an event's message as name → value."""
    return {str(item.get("Name", "")): str(item.get("Value", "")) for item in element.iter("{*}SimpleItem")}
