"""What starting needs: an open database; the first time a folder, a secret key, the procedure. Never demo accounts."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import device.operators  # noqa: F401 - diagrams are checked against the registered operators
from engine import definitions
from engine.db import Database
from engine.errors import ConflictError
from engine.settings import ROOT, Settings

PROCEDURE = ROOT / "bpmn"
MAIN_PROCESS = "footage_retrieval"


@contextmanager
def opened() -> Iterator[tuple[Database, Settings]]:
    """The database of the settings, brought to the newest schema."""
    settings = Settings.from_environment()
    database = Database.of(settings)
    try:
        database.upgrade()
        yield database, settings
    finally:
        database.dispose()


def make_secret(data: Path) -> None:
    """Write a random secret key that only its owner may read, unless there is one."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "secret_key"
    if os.environ.get("DIAOQU_SECRET_KEY") or path.exists():
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))


def deploy_procedure(database: Database, *, by: str, note: str) -> None:
    """Deploy the processes of bpmn/ of which no version is deployed yet; process owners take them from there.

    So a process that a newer release brings arrives by itself, and what owners have changed is never touched.
    """
    files = definitions.read_folder(PROCEDURE)
    with database.transaction() as session:
        known = {found.process_id for found in definitions.latest_versions(session)}
        new = {file for process_id, (file, _name) in definitions.processes(files).items() if process_id not in known}
        present = definitions.current_files(session)
        brought = {name: text for name, text in files.items() if name in new or name not in present}
        if new:
            definitions.deploy(session, brought, by=by, note=note)


def prepare() -> None:
    """Everything that `make run` needs on a fresh machine.

    Raises:
        ConflictError: the folder holds demo data; the two never mix.
    """
    data = Path(os.environ.get("DIAOQU_DATA", "data")).resolve()
    make_secret(data)
    settings = Settings.from_environment()
    if settings.demo:
        raise ConflictError("%(data)s holds demo data: choose another folder with DIAOQU_DATA.", data=str(data))
    database = Database.of(settings)
    try:
        database.upgrade()
        deploy_procedure(database, by="system", note="首次部署")
    finally:
        database.dispose()
