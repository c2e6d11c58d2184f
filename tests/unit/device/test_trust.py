"""A recorder with a certificate of its own is trusted when that one was given, and then no other is."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from replay_room import now, span
from sqlalchemy.orm import Session
from test_hostile_recorder import Redirecting

from device import registers
from device.cli import recorder as commands
from device.recorders import open_recorder
from device.recorders.base import DeviceError, RecorderRefusedError
from device.recorders.replay import RtspRecorder
from device.recorders.trust import trusting
from device.simulator import CAMERAS, Simulator
from device.simulator.certificate import certificate, server_context
from engine.settings import Settings


@pytest.fixture(scope="module")
def secured() -> Iterator[tuple[str, str]]:
    """The address of an HTTPS recorder that sends everybody away, and its certificate."""
    pem, key = certificate()
    handler = type("Handler", (Redirecting,), {"location": "https://127.0.0.2/x"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = server_context(pem, key).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", pem.decode()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("driver", ["onvif", "hikvision", "dahua"])
def test_https_is_checked_against_the_certificate_that_was_given(secured: tuple[str, str], driver: str) -> None:
    address, pem = secured
    other, _ = certificate()
    for trusted, words in ((pem, "another address"), (other.decode(), "not trusted"), ("", "not trusted")):
        with pytest.raises(RecorderRefusedError, match=words):
            open_recorder(driver, address, "operator", "secret", tls=trusting(trusted)).probe()


def test_the_certificate_of_one_host_is_not_good_for_another(secured: tuple[str, str]) -> None:
    address, pem = secured
    with pytest.raises(DeviceError, match=r"not trusted|No connection"):
        open_recorder("onvif", address.replace("127.0.0.1", "127.0.0.3"), tls=trusting(pem)).probe()


@pytest.mark.parametrize(
    "text", ["no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----", "\u8bc1"]
)
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(RecorderRefusedError, match="PEM"):
        trusting(text)


def test_the_command_line_takes_a_certificate(recorder_media: Path, tmp_path: Path) -> None:
    with Simulator(recorder_media, clock=now, cameras=CAMERAS[:1], secure=True) as simulator:
        (tmp_path / "ca.pem").write_bytes(simulator.certificate)
        (tmp_path / "other.pem").write_bytes(certificate()[0])
        asked = span("05:00:00", 4)
        common = ["export", "--rtsp", simulator.replay_uri("gate"), "--from", asked.start.isoformat()]
        common += ["--to", asked.end.isoformat()]
        done = CliRunner().invoke(commands, [*common, "--ca-file", f"{tmp_path}/ca.pem", "--out", f"{tmp_path}/a.mkv"])
        assert (done.exit_code, (tmp_path / "a.mkv").exists()) == (0, True), done.output
        for more in ([], ["--ca-file", f"{tmp_path}/other.pem"]):
            refused = CliRunner().invoke(commands, [*common, *more, "--out", f"{tmp_path}/b.mkv"])
            assert refused.exit_code == 1
            assert "not trusted" in refused.output
            assert not (tmp_path / "b.mkv").exists()


def test_a_registered_certificate_and_leave_for_basic_reach_the_driver(session: Session, settings: Settings) -> None:
    pem = certificate()[0].decode()
    facts = {"name": "x", "url": "rtsps://recorder.example/x", "driver": "rtsp"}
    registers.add_recorder(session, settings, "nvr-1", **facts, certificate=pem, allow_basic=True)  # type: ignore[arg-type]
    registers.add_camera(session, "gate", name="x", place="x", recorder="nvr-1", recording="gate")
    driver = registers.registered(session, settings, "gate").connect()
    assert isinstance(driver, RtspRecorder)
    assert driver._tls is not None
    assert [len(driver._tls.get_ca_certs(binary_form=True)), driver._login.allow_basic] == [1, True]
    with pytest.raises(registers.RegisterError, match="PEM"):
        registers.add_recorder(session, settings, "nvr-2", **facts, certificate="none")  # type: ignore[arg-type]
