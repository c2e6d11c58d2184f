"""Whose word counts for a recorder's certificate: the system's authorities, or one that was registered for it alone.

Most recorders sign their own certificate, or have it from the company's authority. Either may be given as PEM; then
nothing else is trusted for that recorder. The host name is checked in any case.
"""

import ssl
from typing import Any

from requests.adapters import HTTPAdapter

from device.recorders.base import N_, RecorderRefusedError


def trusting(pem: str) -> ssl.SSLContext | None:
    """What checks a recorder's certificate against this one, or its authority; None (the system's) for an empty text.

    Raises:
        RecorderRefusedError: the text is no certificate.
    """
    if not pem.strip():
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise RecorderRefusedError(
            N_("This is no certificate: give it as PEM, from -----BEGIN CERTIFICATE----- on.")
        ) from error
    if not context.cert_store_stats()["x509"]:
        raise RecorderRefusedError(N_("This is no certificate: give it as PEM, from -----BEGIN CERTIFICATE----- on."))
    return context


class TrustingAdapter(HTTPAdapter):
    """HTTP over TLS that is checked by `tls` alone; without it, as requests does it."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        if self._tls is not None:
            options["ssl_context"] = self._tls
        super().init_poolmanager(*arguments, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """requests would add its own list of authorities."""
        if self._tls is None:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]  # requests' stubs
