"""`diaoqu simulate-recorder`: the simulated recorder on the command line, with its faults."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device.recorders.discovery import GROUP, PORT

if TYPE_CHECKING:
    from device.simulator import Simulator


class Seconds(click.ParamType[timedelta]):
    """A duration in seconds, with a sign: 37, -1.5."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return timedelta(seconds=float(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no number of seconds", param, ctx)


class HostAndPort(click.ParamType[tuple[str, int]]):
    """An IPv4 address or a name, and a port unless it is that of WS-Discovery: 239.255.255.250:3702, 192.0.2.7."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = value.partition(":")
        if not host or (colon and not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536)):
            self.fail(f"{value!r} is no address, like 192.0.2.7 or {GROUP}:{PORT}", param, ctx)
        return host, int(port or PORT)


@click.command("simulate-recorder")
@click.option("--port", default=0, help="Port of the ONVIF services; 0 takes a free one.")
@click.option("--rtsp-port", default=0, help="Port of the replay service; 0 takes a free one.")
@click.option("--user", help="User name to ask for; without it the recorder asks for none.")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose first line is the password.",
)
@click.option(
    "--media",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/simulator"),
    show_default=True,
    help="Folder of the footage; filled at the first start.",
)
@click.option(
    "--recordings",
    "library",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of video files of your own: each is a camera, named after the file, and plays over and over.",
)
@click.option("--clock-offset", type=Seconds(), default="37", show_default=True, help="Recorder minus true time.")
@click.option("--all-codecs", is_flag=True, help="Also cameras with motion JPEG, AAC and G.711 A-law.")
@click.option("--secure", is_flag=True, help="Replay over TLS (RTSPS) with a certificate made at the start.")
@click.option(
    "--certificate",
    "certificate_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write that certificate (PEM), for clients to trust.",
)
@click.option("--discoverable", is_flag=True, help="Answer `diaoqu recorder discover` on this machine.")
@click.option(
    "--discovery-address",
    type=HostAndPort(),
    default=f"{GROUP}:{PORT}",
    show_default=True,
    help="Where it is asked then: a group, or 127.0.0.1 and a port.",
)
@click.option(
    "--fault",
    "items",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Do something wrong, like ending=eof or plays=cut:90000,busy; `--fault list` names all faults.",
)
def simulate_recorder(
    port: int,
    rtsp_port: int,
    user: str | None,
    password_file: Path | None,
    folder: Path,
    library: Path | None,
    clock_offset: timedelta,
    all_codecs: bool,
    secure: bool,
    certificate_file: Path | None,
    discoverable: bool,
    discovery_address: tuple[str, int],
    items: tuple[str, ...],
) -> None:
    """Run a simulated ONVIF Profile G recorder on 127.0.0.1 until interrupted."""
    from device.simulator import CAMERAS, OLD_CAMERAS, Faults, MediaError, Simulator, UnknownFaultError

    if items == ("list",):
        for name, value in Faults().to_json().items():
            click.echo(f"{name}\t(sound: {value!r})")
        return
    password = None
    if password_file is not None:
        password = (password_file.read_text(encoding="utf-8").splitlines() or [""])[0]
    if user and password is None:
        raise click.UsageError("--user needs --password-file.")
    if certificate_file is not None and not secure:
        raise click.UsageError("--certificate needs --secure.")
    try:
        faults = Faults.parse(items)
    except UnknownFaultError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from error
    cameras = CAMERAS + OLD_CAMERAS if all_codecs else CAMERAS
    try:
        simulator = Simulator(
            folder,
            port,
            rtsp_port,
            user,
            password,
            clock_offset,
            cameras,
            faults=faults,
            secure=secure,
            library=library,
            discoverable=discovery_address if discoverable else None,
        )
        if certificate_file is not None:
            certificate_file.write_bytes(simulator.certificate)
        simulator.start()
        simulator.serve_forever(_announce)
    except (MediaError, OSError) as error:
        click.echo(f"diaoqu: {error}", err=True)
        sys.exit(1)


def _announce(simulator: "Simulator") -> None:
    click.echo(f"ONVIF {simulator.url}")
    click.echo(f"RTSP  {simulator.replay_uri('').removesuffix('replay/')}")
    click.echo(f"Faults {simulator.control_url}")
    if simulator.discoverable is not None:
        click.echo("Discovery {}:{}".format(*simulator.discoverable))
    sys.stdout.flush()
