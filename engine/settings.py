"""All settings, read once from DIAOQU_* variables into one frozen object."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from engine.errors import N_, EngineError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: bpmn/, migrations/ and built assets stand beside engine/."""


class SettingsError(EngineError):
    """A setting is missing or wrong."""


@dataclass(frozen=True)
class Settings:
    """`store_primary` and `store_backup` are `file://` or `s3://` addresses; `broker_url` is empty without Celery.

    `segment_minutes` is how long the pieces are in which a long span of footage is retrieved (docs/recorders.md).
    `seal_minutes` is the time between two seals of all histories (docs/ledger-format.md); 0 makes none by itself.
    `message_hours` is how long a message waits for a receiver whose diagram does not say it (docs/messages.md).
    """

    data: Path
    database_url: str
    store_primary: str
    store_backup: str
    secret_key: str
    broker_url: str = ""
    demo: bool = False
    site: str = "main"
    max_span_hours: int = 24
    segment_minutes: float = 60
    retention_days: int = 30
    seal_minutes: int = 10
    message_hours: int = 24

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings; a missing secret outside demo mode is an error, never a default.

        Raises:
            SettingsError: DIAOQU_SECRET_KEY is missing or shorter than 32 characters, or a number is none.
        """
        data = Path(environ.get("DIAOQU_DATA", "data")).resolve()
        demo = environ.get("DIAOQU_DEMO", "") == "1" or (data / "demo").is_file()
        secret = environ.get("DIAOQU_SECRET_KEY", "")
        secret_file = data / "secret_key"
        if not secret and secret_file.is_file():
            secret = secret_file.read_text().strip()
        if len(secret) < 32:
            raise SettingsError(
                N_("DIAOQU_SECRET_KEY is missing or shorter than 32 characters: set it to a long random text.")
            )
        try:
            max_span_hours = int(environ.get("DIAOQU_MAX_SPAN_HOURS", "24"))
        except ValueError as error:
            raise SettingsError(N_("DIAOQU_MAX_SPAN_HOURS must be a whole number of hours.")) from error
        seal_minutes = environ.get("DIAOQU_SEAL_MINUTES", "10")
        if not (seal_minutes.isascii() and seal_minutes.isdigit()):
            raise SettingsError(N_("DIAOQU_SEAL_MINUTES must be a whole number of minutes, 0 for never."))
        message_hours = environ.get("DIAOQU_MESSAGE_HOURS", "24")
        if not (message_hours.isascii() and message_hours.isdigit()):
            raise SettingsError(N_("DIAOQU_MESSAGE_HOURS must be a whole number of hours."))
        segment_minutes = environ.get("DIAOQU_SEGMENT_MINUTES", "60")
        if not (segment_minutes.isascii() and segment_minutes.isdigit() and int(segment_minutes) > 0):
            raise SettingsError(N_("DIAOQU_SEGMENT_MINUTES must be a whole number of minutes, at least 1."))
        return cls(
            data=data,
            database_url=environ.get("DIAOQU_DATABASE_URL", f"sqlite:///{data / 'diaoqu.db'}"),
            store_primary=environ.get("DIAOQU_STORE_PRIMARY", f"file://{data / 'store' / 'primary'}"),
            store_backup=environ.get("DIAOQU_STORE_BACKUP", f"file://{data / 'store' / 'backup'}"),
            secret_key=secret,
            broker_url=environ.get("DIAOQU_BROKER_URL", ""),
            demo=demo,
            site=environ.get("DIAOQU_SITE", "main"),
            max_span_hours=max_span_hours,
            segment_minutes=int(segment_minutes),
            seal_minutes=int(seal_minutes),
            message_hours=int(message_hours),
        )

    @property
    def scratch(self) -> Path:
        """Where unfinished work lies: that of a job in the folder of its id (engine/scratch.py)."""
        return self.data / "scratch"

    def derived_key(self, purpose: bytes) -> bytes:
        """32 bytes for one purpose, derived from DIAOQU_SECRET_KEY (HKDF, RFC 5869); for another, other bytes."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(self.secret_key.encode())
