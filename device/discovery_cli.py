"""`diaoqu recorder discover`: which recorders are on the network. Nothing that is found is contacted."""

import ipaddress
import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from device.recorders.base import DeviceError
from device.recorders.discovery import GROUP, PORT, TIMEOUT, Found, discover
from device.simulator.command import HostAndPort

NOBODY = """Nobody answered. Check that
  - this machine is in the same network segment as the recorders: the question does not pass routers;
  - ONVIF and its discovery are switched on at the recorder, and the network lets multicast through;
  - no firewall here drops UDP from port {port} (the answers come back to a port of the moment).
With several networks name yours with --interface; a host behind a router can be asked alone with --address HOST."""


class OwnAddress(click.ParamType[str]):
    """An IPv4 address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(ipaddress.IPv4Address(value))
        except ValueError:
            self.fail(f"{value!r} is no IPv4 address of this machine, like 192.0.2.1", param, ctx)


@click.command("discover")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 300),
    default=TIMEOUT,
    show_default=True,
    help="Seconds to wait for answers.",
)
@click.option(
    "--interface",
    "interfaces",
    type=OwnAddress(),
    multiple=True,
    help="Address of this machine in the network to ask; may be given more than once. Without it all networks.",
)
@click.option(
    "--address",
    type=HostAndPort(),
    default=f"{GROUP}:{PORT}",
    show_default=True,
    help="Whom to ask: the group that all devices listen to, or one host.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(timeout: float, interfaces: tuple[str, ...], address: tuple[str, int], as_json: bool) -> None:
    """Find recorders and cameras on the network; status 1 when nobody answers.

    They are asked by WS-Discovery and say who they are; their addresses are shown and not contacted.
    """
    try:
        found = discover(timeout, interfaces, address)
    except DeviceError as error:
        click.echo(f"diaoqu: {error}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found], ensure_ascii=False, indent=2))
    elif found:
        _show(found)
    if not found:
        click.echo(NOBODY.format(port=address[1]), err=True)
        sys.exit(1)


def _show(found: list[Found]) -> None:
    """As wide as the terminal; where there is none, as wide as it needs."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "Name", "Model", "Address", "Profiles"):
        table.add_column(title, overflow="fold")
    for each in found:
        kind = "recorder" if each.is_recorder else "camera"
        addresses = "\n".join(each.addresses) or f"none given ({', '.join(each.answered_by)} answered)"
        cells = (kind, each.name, each.model, addresses, " ".join(each.profiles))
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
