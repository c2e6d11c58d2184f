"""What every answer carries: a strict content policy, no caching of what people may see, cookies that stay here.

CSRF tokens are checked on every unsafe request, except when it carries a bearer token: a foreign page cannot set that
header, and such a request is never answered on the strength of a cookie (web/auth.py).
"""

from urllib.parse import urlsplit

from flask import Flask, Response, request
from flask.sessions import SecureCookieSessionInterface
from flask_wtf.csrf import CSRFProtect

CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}

csrf = CSRFProtect()


class HttpsAwareSession(SecureCookieSessionInterface):
    """The session cookie is marked Secure whenever the request came over https, and only then: `make demo` is http."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return super().get_cookie_secure(app) or request.is_secure


def bears_token() -> bool:
    """Whether the request asks to be judged by a bearer token alone."""
    return request.headers.get("Authorization", "").lower().startswith("bearer ")


def local_address(address: str | None) -> str | None:
    """`address` when it is a path of this site, else None: what follows a sign-in must not lead elsewhere."""
    if not address or not address.startswith("/") or address.startswith(("//", "/\\")):
        return None
    if any(ord(character) < 0x20 or character == "\\" for character in address):
        return None
    parts = urlsplit(address)
    return None if parts.scheme or parts.netloc else address


def _check_csrf() -> None:
    if request.method not in {"GET", "HEAD", "OPTIONS", "TRACE"} and not bears_token():
        csrf.protect()


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def install(app: Flask) -> None:
    app.config.update(
        SESSION_COOKIE_NAME="diaoqu_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=12 * 3600,
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: a form may be open all day
    )
    app.session_interface = HttpsAwareSession()
    csrf.init_app(app)
    app.before_request(_check_csrf)
    app.after_request(_add_headers)
