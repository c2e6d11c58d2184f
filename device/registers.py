"""The registers of recorders and cameras (clause P2: the place of a request is a camera of this register).

A recorder's password is kept encrypted; it is decrypted only to open a connection and is in no log and no `repr`.
"""

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import recorders
from device.limits import Hours, LimitError
from device.models import Camera, Recorder
from device.recorders import base
from device.recorders.trust import trusting
from engine.errors import N_, ConflictError, EngineError, NotFoundError
from engine.settings import Settings

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MAX_BANDWIDTH = 2_000_000_000
_PURPOSE = b"diaoqu recorder password 1"


class RegisterError(EngineError):
    """An entry of a register is not acceptable."""


class SecretError(EngineError):
    """A stored password cannot be decrypted: DIAOQU_SECRET_KEY is not the one it was stored with."""


@dataclass(frozen=True)
class RegisteredCamera:
    """A camera together with all that is needed to reach its recorder; usable without a database session."""

    key: str
    name: str
    name_en: str
    place: str
    recording: str
    recorder: str
    recorder_name: str
    driver: str
    url: str
    username: str
    password: str = field(repr=False)
    site: str
    sessions: int
    retention_days: int
    certificate: str = ""
    allow_basic: bool = False
    bandwidth: int = 0
    hours: str = ""
    zone: str = "Asia/Shanghai"

    def connect(self, **options: Any) -> base.Recorder:
        """The recorder's driver, with the driver's own `options`. Raises as `device.recorders.open_recorder`.

        Each of the playbacks that are allowed at a time gets its share of the bandwidth.
        """
        given = {
            **connection_options(self),
            "bandwidth": max(1, self.bandwidth // self.sessions) if self.bandwidth else 0,
            **options,
        }
        return recorders.open_recorder(self.driver, self.url, self.username, self.password, **given)

    def opens_at(self, at: datetime) -> datetime | None:
        """None when footage may be fetched at that instant, else from when on it may."""
        window = Hours.parse(self.hours, self.zone)
        return window.opens_at(at) if window is not None else None


def connection_options(recorder: RegisteredCamera | Recorder) -> dict[str, Any]:
    """What the register says of how to connect. Raises RecorderRefusedError: the certificate is none."""
    if recorder.driver == "folder":
        return {}
    return {"tls": trusting(recorder.certificate), "allow_basic": recorder.allow_basic}


def add_recorder(
    session: Session,
    settings: Settings,
    key: str,
    *,
    name: str,
    url: str,
    username: str = "",
    password: str = "",
    driver: str = "onvif",
    site: str = "main",
    sessions: int = 1,
    retention_days: int = 30,
    certificate: str = "",
    allow_basic: bool = False,
) -> Recorder:
    """Register a recorder.

    Raises:
        ConflictError: the key is taken.
        RegisterError: the key, the address or a number is not acceptable.
    """
    _check_key(key)
    if session.scalar(select(Recorder.id).where(Recorder.key == key)) is not None:
        raise ConflictError(N_("There is already a recorder %(key)s."), key=key)
    recorder = Recorder(key=key, driver=driver)
    _describe(recorder, name, url, username, site, sessions, retention_days)
    _trust(recorder, certificate, allow_basic)
    recorder.secret = encrypt(settings, password)
    session.add(recorder)
    session.flush()
    return recorder


def change_recorder(
    session: Session,
    settings: Settings,
    recorder: Recorder,
    *,
    name: str,
    url: str,
    username: str,
    password: str | None,
    site: str = "main",
    sessions: int = 1,
    retention_days: int = 30,
    certificate: str = "",
    allow_basic: bool = False,
) -> None:
    """Change an entry; `password=None` keeps the stored one. Raises RegisterError."""
    _describe(recorder, name, url, username, site, sessions, retention_days)
    _trust(recorder, certificate, allow_basic)
    if password is not None:
        recorder.secret = encrypt(settings, password)
    session.flush()


def limit_recorder(
    session: Session, recorder: Recorder, *, sessions: int, bandwidth: int, hours: str, zone: str = ""
) -> None:
    """Set how much a recorder may be burdened: playbacks at a time, bytes a second (0: no cap), hours like 22:00-06:00.

    Raises:
        RegisterError: a number, the hours or the zone is not acceptable.
    """
    if sessions < 1 or not 0 <= bandwidth < MAX_BANDWIDTH:
        raise RegisterError(N_("Playback sessions are at least 1, a bandwidth is not negative and below 2 GB/s."))
    zone = zone or recorder.zone or "Asia/Shanghai"
    try:
        window = Hours.parse(hours, zone)
    except LimitError as error:
        raise RegisterError(
            N_("%(hours)s in %(zone)s are no hours: write them like 22:00-06:00 and Asia/Shanghai."),
            hours=hours,
            zone=zone,
        ) from error
    recorder.sessions, recorder.bandwidth = sessions, bandwidth
    recorder.hours, recorder.zone = str(window) if window is not None else "", zone
    session.flush()


def _describe(
    recorder: Recorder, name: str, url: str, username: str, site: str, sessions: int, retention_days: int
) -> None:
    parts = urlsplit(url)
    if recorder.driver == "folder":
        reachable = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    else:
        schemes = {"rtsp", "rtsps"} if recorder.driver == "rtsp" else {"http", "https"}
        reachable = parts.scheme in schemes and bool(parts.hostname) and "@" not in parts.netloc
    if not reachable:
        raise RegisterError(
            N_("%(url)s is no address of a recorder: write http://host/onvif/device_service, without a password."),
            url=url,
        )
    if sessions < 1 or retention_days < 1:
        raise RegisterError(N_("Playback sessions and days of retention are at least 1."))
    recorder.name, recorder.url, recorder.username, recorder.site = name, url, username, site
    recorder.sessions, recorder.retention_days = sessions, retention_days


def _trust(recorder: Recorder, certificate: str, allow_basic: bool) -> None:
    try:
        trusting(certificate)
    except base.RecorderRefusedError as error:
        raise RegisterError(
            N_("This is no certificate: give it as PEM, from -----BEGIN CERTIFICATE----- on.")
        ) from error
    recorder.certificate, recorder.allow_basic = certificate.strip(), allow_basic


def add_camera(
    session: Session,
    key: str,
    *,
    name: str,
    place: str,
    recorder: str,
    recording: str,
    name_en: str = "",
    place_en: str = "",
) -> Camera:
    """Register a camera of the recorder whose key is `recorder`; `recording` is the recorder's token for it.

    Raises:
        ConflictError: the key is taken.
        NotFoundError: there is no such recorder.
        RegisterError: the key is not acceptable.
    """
    _check_key(key)
    if session.scalar(select(Camera.id).where(Camera.key == key)) is not None:
        raise ConflictError(N_("There is already a camera %(key)s."), key=key)
    camera = Camera(
        key=key,
        name=name,
        name_en=name_en,
        place=place,
        place_en=place_en,
        recorder=get_recorder(session, recorder),
        recording=recording,
        active=True,
    )
    session.add(camera)
    session.flush()
    return camera


def all_recorders(session: Session) -> list[Recorder]:
    return list(session.scalars(select(Recorder).order_by(Recorder.key)))


def get_recorder(session: Session, key: str) -> Recorder:
    """Raises NotFoundError."""
    found = session.scalar(select(Recorder).where(Recorder.key == key))
    if found is None:
        raise NotFoundError(N_("There is no recorder %(key)s."), key=key)
    return found


def all_cameras(session: Session, *, inactive: bool = False) -> list[Camera]:
    """Cameras ordered by name, which mostly begins with a number; those out of service only when asked for."""
    query = select(Camera).order_by(Camera.name, Camera.place)
    return list(session.scalars(query if inactive else query.where(Camera.active)))


def get_camera(session: Session, key: str) -> Camera:
    """Raises NotFoundError."""
    found = session.scalar(select(Camera).where(Camera.key == key))
    if found is None:
        raise NotFoundError(N_("There is no camera %(key)s in the register."), key=key)
    return found


def registered(session: Session, settings: Settings, camera_key: str) -> RegisteredCamera:
    """Everything about a camera that work outside the session needs. Raises NotFoundError, SecretError."""
    camera = get_camera(session, camera_key)
    recorder = camera.recorder
    return RegisteredCamera(
        key=camera.key,
        name=camera.name,
        name_en=camera.name_en,
        place=camera.place,
        recording=camera.recording,
        recorder=recorder.key,
        recorder_name=recorder.name,
        driver=recorder.driver,
        url=recorder.url,
        username=recorder.username,
        password=decrypt(settings, recorder.secret),
        site=recorder.site,
        sessions=recorder.sessions,
        retention_days=recorder.retention_days,
        certificate=recorder.certificate,
        allow_basic=recorder.allow_basic,
        bandwidth=recorder.bandwidth,
        hours=recorder.hours,
        zone=recorder.zone,
    )


def playback_key(recorder: str) -> str:
    """The key under which jobs share the playbacks of a recorder."""
    return f"recorder:{recorder}"


def open_registered(session: Session, settings: Settings, camera_key: str) -> tuple[RegisteredCamera, base.Recorder]:
    """The camera and its recorder's driver. Raises NotFoundError, SecretError and the driver's errors."""
    camera = registered(session, settings, camera_key)
    return camera, camera.connect()


def encrypt(settings: Settings, secret: str) -> str:
    return _cipher(settings).encrypt(secret.encode()).decode() if secret else ""


def decrypt(settings: Settings, stored: str) -> str:
    """Raises SecretError."""
    if not stored:
        return ""
    try:
        return _cipher(settings).decrypt(stored.encode()).decode()
    except InvalidToken as error:
        raise SecretError(
            N_("A stored password cannot be read: DIAOQU_SECRET_KEY has changed. Enter the password again.")
        ) from error


def _cipher(settings: Settings) -> Fernet:
    return Fernet(urlsafe_b64encode(settings.derived_key(_PURPOSE)))


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):  # it becomes part of file names
        raise RegisterError(
            N_("%(key)s is no key: use letters, digits, - and _, beginning with a letter or digit."), key=key
        )
