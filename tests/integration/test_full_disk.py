"""Disks that are really full: a clear message, the diagram's error path, nothing half-written, and on it goes.

A file that may not grow (the limit of a process) stands for a quota and works everywhere; a small file system that is
filled to the brim needs the right to mount one.
"""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from holdings import bagit, tree
from premises import Answer, Premises, RecorderProcess, of_this_morning
from processes import Process
from sqlalchemy import func, select
from visitors import Browser, in_chinese

from device.models import EvidenceCopy, EvidenceItem
from engine.models import Instance
from web import seed
from web.demo import ANSWERS, SOUND, application

READY = {"decision": "ready", "equipment_ready": True}
PLAYED = {"decision": "ok", **SOUND}
LIMIT = 8_000_000
"""The database stays below it, the twenty minutes of footage do not."""


@contextmanager
def limited(process: Process) -> Iterator[None]:
    """Within the block no file of this process (and of what it starts) grows beyond LIMIT."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, of this size; skips where nobody may mount one."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Fill a disk up to `leave` bytes; deleting the answer frees it again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - leave
        os.posix_fallocate(file.fileno(), 0, max(free, 0))
    return filler


def the_instance(premises: Premises) -> str:
    with premises.reading() as session:
        return str(session.scalars(select(Instance.id)).one())


@pytest.fixture(scope="module")
def ready(founded: Premises, recorder: RecorderProcess, tmp_path_factory: pytest.TempPathFactory) -> Premises:
    """Twenty minutes of footage are about to be retrieved; standing still."""
    recorder.start()
    premises = founded.copy(tmp_path_factory.mktemp("ready") / "data")
    premises.start_web()
    premises.start_worker()
    try:
        premises.lead(premises.apply(["gate"], *of_this_morning(20)), to="confirm_readiness")
    finally:
        premises.stop()
    return premises


@pytest.fixture(scope="module")
def retrieved(ready: Premises, tmp_path_factory: pytest.TempPathFactory) -> Premises:
    """They have been retrieved and wait for the playback check; standing still."""
    premises = ready.copy(tmp_path_factory.mktemp("retrieved") / "data")
    premises.start_web()
    premises.start_worker()
    try:
        premises.lead(the_instance(premises), to="check_playback")
    finally:
        premises.stop()
    return premises


def fault_page(premises: Premises, instance: str, element: str, lang: str) -> str:
    browser = Browser(premises)
    try:
        return browser.get("operator", f"/tasks/{premises.task(instance, element)['id']}", lang=lang).text
    finally:
        browser.close()


def says_that_the_disk_is_full(premises: Premises, instance: str, element: str) -> None:
    assert "There is no room left on the disk" in fault_page(premises, instance, element, "en")
    translated = in_chinese("There is no room left on the disk")
    if translated:
        assert translated in fault_page(premises, instance, element, "zh")


def archived(premises: Premises, instance: str) -> Path:
    bag = Path(premises.lead(instance)["archive"]["path"])
    assert bagit(bag).returncode == 0
    assert premises.ask("auditor", "GET", f"/instances/{instance}/verification")["ok"] is True
    return bag


# ---- retrieving -----------------------------------------------------------------------------------------------------


def check_retrieval(premises: Premises, instance: str) -> None:
    """The operator is asked what to do, and no footage was published."""
    premises.wait_for(instance, "handle_camera_fault")
    says_that_the_disk_is_full(premises, instance, "handle_camera_fault")
    number = premises.instance(instance)["data"]["case"]["number"]
    assert tree(premises.folder / "cases" / number) == {}
    with premises.reading() as session:
        assert session.scalar(select(func.count()).select_from(EvidenceItem)) == 0


def test_a_retrieval_beyond_the_quota_asks_the_operator_and_goes_on_later(
    ready: Premises, copied: Callable[..., Premises]
) -> None:
    premises = copied(ready)
    instance = the_instance(premises)
    premises.start_web()
    with limited(premises.start_worker()):
        premises.submit(instance, "confirm_readiness", READY)
        check_retrieval(premises, instance)
    premises.submit(instance, "handle_camera_fault", {"decision": "retry"}, by="operator")
    archived(premises, instance)


def test_a_retrieval_onto_a_full_disk_asks_the_operator_and_goes_on_later(
    ready: Premises, copied: Callable[..., Premises], tmp_path: Path
) -> None:
    """Everything but the database lies on a disk that has room for a part of the footage only."""
    premises = copied(ready)
    instance = the_instance(premises)
    with small_disk(tmp_path / "disk", 200) as disk:
        subprocess.run(["cp", "-a", str(premises.folder), str(disk / "data")], check=True)
        elsewhere = {"DIAOQU_DATABASE_URL": f"sqlite:///{premises.folder / 'diaoqu.db'}"}
        moved = Premises(disk / "data", premises.recorder, premises.tokens, elsewhere)
        try:
            moved.start_web()
            moved.start_worker()
            filler = fill(disk, leave=6_000_000)
            moved.submit(instance, "confirm_readiness", READY)
            check_retrieval(moved, instance)
            filler.unlink()
            moved.submit(instance, "handle_camera_fault", {"decision": "retry"}, by="operator")
            moved.wait_for(instance, "check_playback")
        finally:
            moved.stop()


# ---- backing up -----------------------------------------------------------------------------------------------------


def check_backup(premises: Premises, instance: str, copies: int) -> None:
    premises.wait_for(instance, "handle_store_fault")
    says_that_the_disk_is_full(premises, instance, "handle_store_fault")
    with premises.reading() as session:
        assert session.scalar(select(func.count()).select_from(EvidenceCopy)) == copies
    assert "backup" not in premises.instance(instance)["data"]
    assert list(premises.folder.rglob("*.part")) == [], "what did not fit is gone again"


def test_a_backup_beyond_the_quota_asks_the_operator_and_goes_on_later(
    retrieved: Premises, copied: Callable[..., Premises]
) -> None:
    premises = copied(retrieved)
    instance = the_instance(premises)
    premises.start_web()
    with limited(premises.start_worker()):
        premises.submit(instance, "check_playback", PLAYED)
        check_backup(premises, instance, 0)
        stored = tree(premises.folder / "store")
        assert [path for path in stored if "/ledger/" not in path] == [], "only seals, which come at their own times"
    premises.submit(instance, "handle_store_fault", {"decision": "retry"}, by="operator")
    archived(premises, instance)


def test_a_full_backup_store_asks_the_operator_and_goes_on_later(
    retrieved: Premises, copied: Callable[..., Premises]
) -> None:
    """The primary store has room, the other has none; and later none for the bag."""
    premises = copied(retrieved)
    instance = the_instance(premises)
    with small_disk(premises.folder / "store" / "backup", 80) as disk:
        filler = fill(disk, leave=1_000_000)
        try:
            premises.start_web()
            premises.start_worker()
            premises.submit(instance, "check_playback", PLAYED)
            check_backup(premises, instance, 1)
            filler.unlink()
            answer = {"decision": "retry", "comment": "已清理"}
            premises.submit(instance, "handle_store_fault", answer, by="operator")
            premises.lead(instance, to="register_shelf")
            filler = fill(disk, leave=1_000_000)
            _who, shelf = ANSWERS["register_shelf"]
            premises.submit(instance, "register_shelf", shelf(None, {}))  # type: ignore[arg-type]  # needs no walk
            premises.wait_for(instance, "handle_archive_fault")
            says_that_the_disk_is_full(premises, instance, "handle_archive_fault")
            assert list(disk.rglob("*.part")) == []
            filler.unlink()
            fault = premises.task(instance, "handle_archive_fault")
            who = fault["assignee"] or fault["candidate_group"]
            premises.submit(instance, "handle_archive_fault", answer, by=who)
            bag = archived(premises, instance)
            assert tree(bag) == tree(disk / "archive" / bag.name)
        finally:
            premises.stop()


# ---- the database ---------------------------------------------------------------------------------------------------

FULL = "There is no room left on the disk of this service. Nothing was stored; tell an administrator."


def test_a_full_disk_below_the_database_refuses_and_keeps_everything(
    founded: Premises, tmp_path: Path, recorder: RecorderProcess
) -> None:
    form = application(["gate"], *of_this_morning(1))
    with small_disk(tmp_path / "disk", 40) as disk:
        premises = founded.copy(disk / "data")
        browser = Browser(premises)
        try:
            premises.start_web()
            waiting = premises.apply(["gate"], *of_this_morning(1))
            task = premises.task(waiting, "sign_application")["id"]
            before = premises.instance(waiting)
            for user, lang in (("applicant", "en"), ("applicant", "zh")):
                browser.session(user, lang)
            filler = fill(disk)
            refused = refusals(premises, browser, task, form)
            assert premises.instance(waiting) == before
            assert premises.open_tasks(waiting)[0]["id"] == task
            assert {answer.status for answer in refused} == {507}, refused
            page, chinese, api = refused
            assert FULL in page.text
            assert (api.kind, api.json["detail"]) == ("application/problem+json", FULL)
            assert (in_chinese(FULL) or '<html lang="zh') in chinese.text
            filler.unlink()
            premises.submit(waiting, "sign_application", {"decision": "approve"})
            assert browser.apply("applicant", form).status == 302
            with premises.reading() as session:
                assert session.connection().exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert premises.ask("auditor", "GET", f"/instances/{waiting}/verification")["ok"] is True
        finally:
            browser.close()
            premises.stop()


def refusals(premises: Premises, browser: Browser, task: str, form: dict[str, object]) -> list[Answer]:
    """An application over the page in both languages, and a signature over the API."""
    signed = {"data": {"decision": "approve"}, "signature": {"password": seed.PASSWORD}}
    return [
        browser.apply("applicant", form),
        browser.apply("applicant", form, lang="zh"),
        premises.call("head", "POST", f"/tasks/{task}/complete", signed),
    ]
