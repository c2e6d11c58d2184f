import sqlite3
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from device import registers
from device.registers import RegisterError, SecretError
from engine.errors import ConflictError, NotFoundError
from engine.settings import Settings

URL = "http://127.0.0.1:8000/onvif/device_service"


@pytest.fixture
def registered(session: Session, settings: Settings) -> None:
    registers.add_recorder(
        session, settings, "nvr-1", name="一号录像机", url=URL, username="viewer", password="密码 1", sessions=2
    )
    registers.add_camera(session, "gate", name="大门", place="东门", recorder="nvr-1", recording="rec_gate")


@pytest.mark.usefixtures("registered")
def test_a_camera_knows_how_to_reach_its_recorder(session: Session, settings: Settings) -> None:
    camera = registers.registered(session, settings, "gate")
    assert (camera.url, camera.username, camera.password) == (URL, "viewer", "密码 1")
    assert (camera.recorder, camera.recording, camera.sessions, camera.retention_days) == ("nvr-1", "rec_gate", 2, 30)


@pytest.mark.usefixtures("registered")
def test_a_password_is_neither_stored_in_clear_nor_shown(session: Session, settings: Settings) -> None:
    assert "密码" not in registers.get_recorder(session, "nvr-1").secret
    assert "密码" not in repr(registers.registered(session, settings, "gate"))
    session.commit()
    path = settings.database_url.removeprefix("sqlite:///")
    dump = "\n".join(sqlite3.connect(path).iterdump())
    assert "nvr-1" in dump
    assert "密码" not in dump


@pytest.mark.usefixtures("registered")
def test_another_secret_key_is_said_plainly(session: Session, settings: Settings) -> None:
    other = replace(settings, secret_key="another long random text, too long to guess")
    with pytest.raises(SecretError, match="DIAOQU_SECRET_KEY has changed"):
        registers.registered(session, other, "gate")


@pytest.mark.usefixtures("registered")
def test_changing_a_recorder_without_a_password_keeps_it(session: Session, settings: Settings) -> None:
    recorder = registers.get_recorder(session, "nvr-1")
    registers.change_recorder(
        session,
        settings,
        recorder,
        name="新名",
        url=URL,
        username="viewer",
        password=None,
        site="main",
        sessions=1,
        retention_days=45,
    )
    camera = registers.registered(session, settings, "gate")
    assert (camera.recorder_name, camera.password, camera.retention_days) == ("新名", "密码 1", 45)


@pytest.mark.usefixtures("registered")
def test_the_same_key_twice_is_refused(session: Session, settings: Settings) -> None:
    with pytest.raises(ConflictError, match="nvr-1"):
        registers.add_recorder(session, settings, "nvr-1", name="x", url=URL)
    with pytest.raises(ConflictError, match="gate"):
        registers.add_camera(session, "gate", name="x", place="x", recorder="nvr-1", recording="x")


@pytest.mark.parametrize("url", ["rtsp://h/x", "http://user:secret@h/x", "http:///x", "h", ""])
def test_an_address_that_is_none_is_refused(session: Session, settings: Settings, url: str) -> None:
    with pytest.raises(RegisterError, match="no address of a recorder"):
        registers.add_recorder(session, settings, "nvr-1", name="x", url=url)


@pytest.mark.parametrize(
    ("driver", "url", "good"),
    [
        ("folder", "file:///srv/export?zone=Asia/Shanghai&offset=37", True),
        ("folder", "file://host/share", False),
        ("folder", "http://h/x", False),
        ("hikvision", "http://h:8080", True),
        ("dahua", "file:///etc", False),
        ("rtsp", "rtsp://h/x", True),
        ("onvif", "file:///etc", False),
    ],
)
def test_each_kind_of_recorder_has_its_own_kind_of_address(
    session: Session, settings: Settings, driver: str, url: str, good: bool
) -> None:
    if good:
        assert registers.add_recorder(session, settings, "nvr-1", name="x", url=url, driver=driver).url == url
    else:
        with pytest.raises(RegisterError, match="no address of a recorder"):
            registers.add_recorder(session, settings, "nvr-1", name="x", url=url, driver=driver)


@pytest.mark.parametrize("key", ["", "../x", "a b", ".hidden", "x" * 65])
def test_a_key_that_is_no_file_name_is_refused(session: Session, settings: Settings, key: str) -> None:
    with pytest.raises(RegisterError, match="is no key"):
        registers.add_recorder(session, settings, key, name="x", url=URL)


def test_unknown_keys_are_named(session: Session, settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="attic"):
        registers.registered(session, settings, "attic")
    with pytest.raises(NotFoundError, match="nvr-9"):
        registers.add_camera(session, "gate", name="x", place="x", recorder="nvr-9", recording="x")


@pytest.mark.usefixtures("registered")
def test_a_camera_out_of_service_is_listed_only_when_asked_for(session: Session) -> None:
    registers.get_camera(session, "gate").active = False
    session.flush()
    assert registers.all_cameras(session) == []
    assert [camera.key for camera in registers.all_cameras(session, inactive=True)] == ["gate"]
