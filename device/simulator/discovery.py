"""How the simulated recorder is found: it answers the questions of WS-Discovery, on loopback only.

It says neither Hello nor Bye: whoever looks for recorders asks.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5
from xml.sax.saxutils import escape

from lxml import etree

from device.simulator.device_answers import SCOPES
from device.simulator.soap import NAMESPACES

_TYPES = {(NAMESPACES["tds"], "Device"), ("http://www.onvif.org/ver10/network/wsdl", "NetworkVideoTransmitter")}
_IP_MULTICAST_ALL = 49  # linux/in.h

_MATCHES = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" \
xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" \
xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" \
xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><s:Header>\
<a:MessageID>urn:uuid:{id}</a:MessageID><a:RelatesTo>{question}</a:RelatesTo>\
<a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To>\
<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</a:Action></s:Header>\
<s:Body><d:ProbeMatches><d:ProbeMatch>\
<a:EndpointReference><a:Address>{endpoint}</a:Address></a:EndpointReference>\
<d:Types>tds:Device dn:NetworkVideoTransmitter</d:Types><d:Scopes>{scopes}</d:Scopes>\
<d:XAddrs>{url}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>\
</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"""


class Responder(asyncio.DatagramProtocol):
    """Answers each question that the recorder matches, to the one who asked."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = _question(data)
        if question and self._transport is not None:
            url = self._url()
            text = _MATCHES.format(
                id=uuid4(), question=escape(question), endpoint=endpoint(url), scopes=" ".join(SCOPES), url=escape(url)
            )
            with contextlib.suppress(OSError):  # the one who asked is out of reach
                self._transport.sendto(text.encode(), addr)


def endpoint(url: str) -> str:
    """The name under which the recorder at this address is known; the same after each start."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, url)}"


def listening(host: str, address: tuple[str, int]) -> socket.socket:
    """A socket that hears what is asked of `address`: of a group on the interface of `host` alone, or of this machine.

    Raises:
        OSError: the address cannot be listened on, or others than this machine could reach it.
    """
    asked = ip_address(socket.gethostbyname(address[0]))
    if not (asked.is_multicast or asked.is_loopback):
        raise OSError(f"The simulated recorder is found on this machine only: {address[0]} is no address for that.")
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        line.setblocking(False)
        if asked.is_multicast:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others may be discoverable at the same time
            with contextlib.suppress(OSError):  # only Linux hands over what came for others by another interface
                line.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            membership = socket.inet_aton(address[0]) + socket.inet_aton(host)
            line.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        line.bind(address)
    except OSError:
        line.close()
        raise
    return line


def _question(data: bytes) -> str:
    """The id of a question that this recorder matches, else an empty text."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        envelope = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return ""
    probe = envelope.find("{*}Body/{http://schemas.xmlsoap.org/ws/2005/04/discovery}Probe")
    if probe is None or not _matches(probe):
        return ""
    return (envelope.findtext("{*}Header/{http://schemas.xmlsoap.org/ws/2004/08/addressing}MessageID") or "").strip()


def _matches(probe: etree._Element) -> bool:
    """All types and all scopes that were asked for must be ours; scopes match by whole segments (WS-Discovery 5.1)."""
    types = probe.find("{*}Types")
    for name in (types.text or "").split() if types is not None else ():
        prefix, _, local = name.rpartition(":")
        if types is not None and (types.nsmap.get(prefix or None, ""), local) not in _TYPES:
            return False
    scopes = (probe.findtext("{*}Scopes") or "").split()
    return all(any(f"{own}/".startswith(f"{asked.rstrip('/')}/") for own in SCOPES) for asked in scopes)
