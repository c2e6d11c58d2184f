"""Finding recorders on the network: WS-Discovery (2005/04) as ONVIF Core, chapter "Device discovery", uses it.

A question goes to the group 239.255.255.250, or to one host; whoever answers names where its services are. Nothing that
was named is contacted here. Anybody on the network may answer anything, so answers are untrusted: they count only
when they relate to a question of ours, and their number, their size and every text in them are bounded.
"""

import fcntl
import ipaddress
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from lxml import etree

from device.recorders.base import N_, DeviceError
from device.recorders.filenames import printable

GROUP, PORT = "239.255.255.250", 3702
TIMEOUT = 4.0

MAX_ANSWERS, MAX_DEVICES, MAX_FROM_ONE = 2000, 500, 32
MAX_MATCHES, MAX_SCOPES, MAX_ADDRESSES, MAX_TEXT = 16, 64, 8, 200

_REPEAT = 0.25
"""Seconds until the questions are asked once more: a datagram may be lost (SOAP-over-UDP, appendix I)."""

_QUESTIONS = (
    ("tds:Device", "http://www.onvif.org/ver10/device/wsdl"),
    ("dn:NetworkVideoTransmitter", "http://www.onvif.org/ver10/network/wsdl"),
)
"""Two questions, since one for both types would only reach devices that are both; old devices know the second alone."""

_PROBE = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" \
xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" \
xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:{prefix}="{namespace}"><s:Header>\
<a:Action s:mustUnderstand="1">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>\
<a:MessageID>urn:uuid:{id}</a:MessageID>\
<a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
<a:To s:mustUnderstand="1">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>\
<s:Body><d:Probe><d:Types>{type}</d:Types></d:Probe></s:Body></s:Envelope>"""

_SCOPES = "://www.onvif.org/"
_RECORDER_TYPES = {"NetworkVideoStorage", "NetworkVideoRecorder", "Network_Video_Recorder"}
_RECORDER_NAME = re.compile(r"(?<![a-z])[ndxh]vr|recorder|(?<![a-z0-9])ds-[789]\d{3}", re.IGNORECASE)
"""What makers call their recorders; Hikvision's are DS-7… to DS-9…, its cameras DS-2…"""

_ADDRESS_OF_INTERFACE = 0x8915  # SIOCGIFADDR of Linux


@dataclass(frozen=True)
class Found:
    """A device that answered. All of it is what the device says, or what somebody says in its name.

    `addresses` are where its device service is, the one at the host that answered first. `signs` are why it is taken
    for something that keeps recordings: `Profile G`, a type, or a model's name; without any it is a plain camera.
    """

    endpoint: str
    name: str
    model: str
    location: str
    types: tuple[str, ...]
    profiles: tuple[str, ...]
    addresses: tuple[str, ...]
    scopes: tuple[str, ...]
    metadata_version: int
    answered_by: tuple[str, ...]
    signs: tuple[str, ...]

    @property
    def is_recorder(self) -> bool:
        return bool(self.signs)

    def to_json(self) -> dict[str, Any]:
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {**plain, "recorder": self.is_recorder}


def discover(
    timeout: float = TIMEOUT, interfaces: Sequence[str] = (), address: tuple[str, int] = (GROUP, PORT)
) -> list[Found]:
    """Ask who is there, and collect answers for `timeout` seconds: recorders first, then by name.

    `interfaces` are own IPv4 addresses from whose networks to ask, by default all. `address` is the group, or one host:
    a question to that host alone passes routers, which the group's does not.

    Raises:
        DeviceError: no question could be sent.
    """
    host, port = _resolved(address[0]), address[1]
    probes = [(str(uuid4()), name, namespace) for name, namespace in _QUESTIONS]
    found: dict[str, Found] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:

        def ask() -> None:
            for id_, name, namespace in probes:
                prefix = name.partition(":")[0]
                text = _PROBE.format(id=id_, type=name, prefix=prefix, namespace=namespace)
                _send(line, text.encode(), (host, port), interfaces)

        ask()
        for datagram, source in _answers(line, timeout, ask):
            for device in read(datagram, {id_ for id_, *_ in probes}, source):
                _add(found, device)
    return sorted(found.values(), key=lambda one: (not one.is_recorder, one.name.lower(), one.endpoint))


def read(datagram: bytes, asked: set[str], source: str) -> list[Found]:
    """The devices in an answer to one of the questions `asked` (their ids); of anything else, none."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        envelope = etree.fromstring(datagram, parser)
    except (etree.XMLSyntaxError, ValueError):
        return []
    if envelope.getroottree().docinfo.internalDTD is not None:
        return []
    if _bare(envelope.findtext("{*}Header/{*}RelatesTo") or "") not in asked:
        return []
    matches = envelope.iterfind("{*}Body/{*}ProbeMatches/{*}ProbeMatch")
    return [device for match in islice(matches, MAX_MATCHES) if (device := _device(match, source)) is not None]


# --- asking


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:
        raise DeviceError(
            N_("There is no host %(host)s to ask: name an IPv4 address, or a name that has one."), host=repr(host)
        ) from error


def _send(line: socket.socket, text: bytes, address: tuple[str, int], interfaces: Sequence[str]) -> None:
    """Send from every interface; it is enough when one of them could.

    Raises:
        DeviceError: none could.
    """
    problem: OSError | None = None
    sent = False
    own = interfaces or _own_addresses() if ipaddress.ip_address(address[0]).is_multicast else ("0.0.0.0",)  # noqa: S104 - asks, does not listen
    for interface in own:
        try:
            line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
            line.sendto(text, address)
            sent = True
        except OSError as error:
            problem = error
    if not sent:
        reason = problem.strerror if problem is not None else "this machine has no network"
        raise DeviceError(
            N_(
                "The network could not be asked (%(reason)s):"
                " name this machine's address in the network of the recorders."
            ),
            reason=reason,
        )


def _own_addresses() -> list[str]:
    """The IPv4 address of each interface; where the system does not tell them, the one that it chooses itself."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(any_socket.fileno(), _ADDRESS_OF_INTERFACE, request)
            except OSError:
                continue  # it has no address
            found.append(socket.inet_ntoa(answer[20:24]))
    return found or ["0.0.0.0"]  # noqa: S104 - asks, does not listen


def _answers(line: socket.socket, timeout: float, ask: Callable[[], None]) -> Iterator[tuple[bytes, str]]:
    """What arrives in time, and from whom; the questions are asked once more meanwhile."""
    began = time.monotonic()
    again = began + _REPEAT
    count = 0
    while count < MAX_ANSWERS and (now := time.monotonic()) < began + timeout:
        if now >= again:
            ask()
            again = began + 2 * timeout
        line.settimeout(max(0.001, min(again, began + timeout) - now))
        try:
            datagram, (source, _) = line.recvfrom(65536)
        except TimeoutError:
            continue
        count += 1
        yield datagram, str(source)


# --- answers


def _device(match: etree._Element, source: str) -> Found | None:
    scopes = _words(match, "Scopes", MAX_SCOPES)
    types = tuple(name.rpartition(":")[2] for name in _words(match, "Types", MAX_MATCHES))
    addresses = _usable(_words(match, "XAddrs", MAX_ADDRESSES), source)
    endpoint = _clean(match.findtext("{*}EndpointReference/{*}Address") or "") or next(iter(addresses), "")
    if not endpoint:
        return None
    name, model = (" ".join(_of(scopes, kind)) for kind in ("name", "hardware"))
    profiles = tuple(dict.fromkeys("S" if each == "Streaming" else each for each in _of(scopes, "Profile")))
    signs = ["Profile G"] if "G" in profiles else []
    signs += [each for each in dict.fromkeys((*types, *_of(scopes, "type"))) if each in _RECORDER_TYPES]
    signs += [each for each in dict.fromkeys((name, model)) if _RECORDER_NAME.search(each)]
    version = match.findtext("{*}MetadataVersion") or ""
    return Found(
        endpoint=endpoint,
        name=name,
        model=model,
        location=", ".join(each.rpartition("/")[2] for each in _of(scopes, "location")),
        types=types,
        profiles=profiles,
        addresses=addresses,
        scopes=scopes,
        metadata_version=int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0,
        answered_by=(source,),
        signs=tuple(signs),
    )


def _add(found: dict[str, Found], device: Found) -> None:
    """Take a device up; one that is known already keeps the newer metadata and the addresses of both answers."""
    key = _bare(device.endpoint)
    known = found.get(key)
    if known is None:
        crowd = Counter(source for each in found.values() for source in each.answered_by)
        if len(found) < MAX_DEVICES and crowd[device.answered_by[0]] < MAX_FROM_ONE:
            found[key] = device
        return
    newer, older = (device, known) if device.metadata_version > known.metadata_version else (known, device)
    found[key] = replace(
        newer,
        addresses=_both(newer.addresses, older.addresses),
        answered_by=_both(known.answered_by, device.answered_by),
    )


def _both(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))[:MAX_ADDRESSES]


def _words(match: etree._Element, name: str, limit: int) -> tuple[str, ...]:
    """The words of a list such as Scopes, each as a text that can be shown."""
    return tuple(_clean(word) for word in (match.findtext(f"{{*}}{name}") or "").split()[:limit])


def _of(scopes: Iterable[str], kind: str) -> list[str]:
    """What ONVIF's scopes of a kind say: onvif://www.onvif.org/<kind>/<what>."""
    paths = (scope.partition(_SCOPES)[2].partition("/") for scope in scopes)
    return [_clean(unquote(what)) for found, _, what in paths if found.lower() == kind.lower() and what]


def _usable(addresses: Iterable[str], source: str) -> tuple[str, ...]:
    """The addresses that a driver could be given, the answering host's own first."""
    found: list[tuple[bool, str]] = []
    for address in addresses:
        try:
            parts = urlsplit(address)
            host, _ = parts.hostname, parts.port
        except ValueError:
            continue
        if parts.scheme in ("http", "https") and host and parts.username is None and "\ufffd" not in address:
            found.append((host != source, address))
    return tuple(address for _, address in sorted(found, key=lambda one: one[0]))


def _clean(text: str) -> str:
    return printable(" ".join(text.split()))[:MAX_TEXT]


def _bare(id_: str) -> str:
    """A message's or an endpoint's id, which some write with urn: and some without."""
    return id_.strip().lower().removeprefix("urn:").removeprefix("uuid:")
