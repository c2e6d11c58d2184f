"""SOAP 1.2 as ONVIF uses it: reading a request, writing an answer or a fault, and the table of operations.

The operations themselves are in `device_answers.py`, `recording_answers.py` and `search.py`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from lxml import etree

from device.simulator.recorder import SimulatedRecorder

NAMESPACES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "ter": "http://www.onvif.org/ver10/error",
    "tt": "http://www.onvif.org/ver10/schema",
    "tds": "http://www.onvif.org/ver10/device/wsdl",
    "trt": "http://www.onvif.org/ver10/media/wsdl",
    "tse": "http://www.onvif.org/ver10/search/wsdl",
    "trc": "http://www.onvif.org/ver10/recording/wsdl",
    "trp": "http://www.onvif.org/ver10/replay/wsdl",
    "wsnt": "http://docs.oasis-open.org/wsn/b-2",
    "tns1": "http://www.onvif.org/ver10/topics",
    "wsse": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
    "wsu": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd",
    "xs": "http://www.w3.org/2001/XMLSchema",
}
_SENT = {prefix: NAMESPACES[prefix] for prefix in NAMESPACES if prefix not in ("wsse", "wsu", "xs")}
_PREFIX = {namespace: prefix for prefix, namespace in NAMESPACES.items()}


class SoapFaultError(Exception):
    """An answer of "no": `subcodes` from the general to the particular, as in ONVIF Core 5.8.2."""

    def __init__(self, reason: str, *subcodes: str, status: int = 400, sender: bool = True) -> None:
        self.reason = reason
        self.subcodes = subcodes
        self.status = status
        self.sender = sender
        super().__init__(reason)


@dataclass(frozen=True)
class Call:
    """One request: who is asked, under which host name, and the operation's element."""

    recorder: SimulatedRecorder
    host: str
    element: etree._Element

    def text(self, path: str, default: str = "") -> str:
        """The text of a descendant, such as `tse:Scope/tt:RecordingInformationFilter`."""
        found = self.element.find(path, NAMESPACES)
        return default if found is None else (found.text or "").strip()

    def texts(self, path: str) -> list[str]:
        return [(found.text or "").strip() for found in self.element.findall(path, NAMESPACES)]

    def number(self, path: str, default: int) -> int:
        text = self.text(path)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 12):
            raise SoapFaultError(f"{path} is not a number", "ter:InvalidArgVal")
        return int(text)

    def time(self, path: str) -> datetime | None:
        """An instant; one without zone is in UTC, as ONVIF has it."""
        text = self.text(path)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError as error:
            raise SoapFaultError(f"{path} is not a time", "ter:InvalidArgVal") from error
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


Operation = Callable[[Call], etree._Element]
OPERATIONS: dict[str, Operation] = {}
_OPEN: set[str] = set()
_MIDNIGHT = re.compile(rb"(\d{4}-\d\d-\d\d)T00:00:00Z")


def operation(name: str, *, before_login: bool = False) -> Callable[[Operation], Operation]:
    """Register the answer to `prefix:Name`; some may be asked before logging in (ONVIF Core, access class PRE_AUTH)."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function
        if before_login:
            _OPEN.add(name)
        return function

    return register


def element(
    name: str, *content: "etree._Element | str | None", attributes: Mapping[str, str] | None = None
) -> etree._Element:
    """`element("tt:Name", child, …)` or `element("tt:Name", "text")`; None is left out."""
    prefix, _, local = name.partition(":")
    made = etree.Element(f"{{{NAMESPACES[prefix]}}}{local}", dict(attributes or {}), nsmap=_SENT)
    for part in content:
        if isinstance(part, str):
            made.text = part
        elif part is not None:
            made.append(part)
    return made


def written(at: datetime) -> str:
    """An instant as xs:dateTime in UTC, with a fraction only where there is one."""
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def answer(recorder: SimulatedRecorder, body: bytes, host: str, authorization: str) -> tuple[int, bytes, bool]:
    """HTTP status, body, and whether to challenge the client: the whole life of one request."""
    try:
        header, request = _read(body)
        name = _name(request)
        recorder.calls[name] += 1
        if name not in _OPEN:
            _authenticate(recorder, header, authorization)
        if {name, "*"} & set(recorder.faults.soap_faults):
            raise SoapFaultError("the recorder is out of order", "ter:Action", status=500, sender=False)
        if name not in OPERATIONS:
            raise SoapFaultError(f"{name} is not supported", "ter:ActionNotSupported", status=500, sender=False)
        content = _envelope(OPERATIONS[name](Call(recorder, host, request)))
        return 200, _MIDNIGHT.sub(_as_24, content) if recorder.faults.midnight_24 else content, False
    except SoapFaultError as fault:
        return fault.status, _envelope(_fault(fault)), fault.status == 401


def _as_24(found: re.Match[bytes]) -> bytes:
    day = date.fromisoformat(found[1].decode()) - timedelta(days=1)
    return f"{day}T24:00:00Z".encode()


def _read(body: bytes) -> tuple[etree._Element | None, etree._Element]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        envelope = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise SoapFaultError("the request is not XML", "ter:WellFormed") from error
    if envelope.getroottree().docinfo.internalDTD is not None:
        raise SoapFaultError("the request has a document type", "ter:WellFormed")
    requests = envelope.findall("s:Body/*", NAMESPACES)
    if len(requests) != 1:
        raise SoapFaultError("the request has no SOAP 1.2 body with one operation", "ter:WellFormed")
    return envelope.find("s:Header", NAMESPACES), requests[0]


def _name(request: etree._Element) -> str:
    found = etree.QName(request)
    return f"{_PREFIX.get(found.namespace or '', '?')}:{found.localname}"


def _authenticate(recorder: SimulatedRecorder, header: etree._Element | None, authorization: str) -> None:
    """A right UsernameToken or a right digest; with neither the client is challenged."""
    gatekeeper = recorder.gatekeeper
    if recorder.faults.login_loop:
        raise SoapFaultError("Sender not authorized", "ter:NotAuthorized", status=401)
    if gatekeeper.open or (authorization and gatekeeper.accepts_digest(authorization, "POST")):
        return
    token = None if header is None else header.find("wsse:Security/wsse:UsernameToken", NAMESPACES)
    if token is None:
        raise SoapFaultError("Sender not authorized", "ter:NotAuthorized", status=401)

    def part(path: str) -> str:
        return (token.findtext(path, "", NAMESPACES) or "").strip()

    if not gatekeeper.accepts_token(
        part("wsse:Username"), part("wsse:Password"), part("wsse:Nonce"), part("wsu:Created")
    ):
        raise SoapFaultError("Sender not authorized", "ter:NotAuthorized")


def _fault(fault: SoapFaultError) -> etree._Element:
    subcode: etree._Element | None = None
    for name in reversed(fault.subcodes):
        subcode = element("s:Subcode", element("s:Value", name), subcode)
    reason = element("s:Text", fault.reason)
    reason.set("{http://www.w3.org/XML/1998/namespace}lang", "en")
    code = element("s:Code", element("s:Value", "s:Sender" if fault.sender else "s:Receiver"), subcode)
    return element("s:Fault", code, element("s:Reason", reason))


def _envelope(content: etree._Element) -> bytes:
    envelope = element("s:Envelope", element("s:Body", content))
    return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8")
