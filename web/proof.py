"""The commands that prove something about the past: verify, replay, history, ledger."""

import sys
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import click
import orjson
from sqlalchemy import select

from device import bags
from device.ledger import custody_jsonl, store_problems, verify_custody
from engine import exports, instances, ledger, replay, seals
from engine.db import Database
from engine.models import Instance
from engine.settings import Settings
from web.setup import opened

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


# ---- verify ---------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("instance", required=False, type=click.UUID)
@click.option("--all", "everything", is_flag=True, help="Every instance, on all cores.")
@click.option("--bag", type=click.Path(exists=True, file_okay=False, path_type=Path), help="An archived bag, offline.")
@click.option("--ledger", "ledger_file", type=FILE, help="An exported ledger, offline.")
@click.option("--history", "history_file", type=FILE, help="With --ledger: an exported history that it should hold.")
@click.option("--key", "keys", type=FILE, multiple=True, help="With --ledger: a public key (PEM) that is trusted.")
def verify(
    instance: UUID | None,
    everything: bool,
    bag: Path | None,
    ledger_file: Path | None,
    history_file: Path | None,
    keys: tuple[Path, ...],
) -> None:
    """Check the hash chain, the seals and the re-execution of an instance; or check a bag or a ledger offline."""
    if sum((instance is not None, everything, bag is not None, ledger_file is not None)) != 1:
        raise click.UsageError("name one INSTANCE, --all, --bag DIR, or --ledger FILE")
    if (history_file or keys) and ledger_file is None:
        raise click.UsageError("--history and --key belong to --ledger")
    if bag is not None:
        sys.exit(_report(str(bag), "valid", bags.verify_bag(bag), bad="NOT VALID"))
    if ledger_file is not None:
        sys.exit(_verify_ledger(ledger_file, history_file, keys))
    with opened() as (database, settings):
        sys.exit(_verify_instances(database, settings, instance))


def _report(name: str, good: str, problems: list[Any], *, bad: str = "NOT OK") -> int:
    """Findings on stderr, the verdict on stdout; the exit status."""
    for problem in problems:
        click.echo(f"{name}: {problem}", err=True)
    click.echo(f"{name}: {bad if problems else good}")
    return 1 if problems else 0


def _verify_instances(database: Database, settings: Settings, only: UUID | None) -> int:
    trusted = seals.trusted_keys(settings)
    with database.reading() as session:
        every = session.scalars(select(Instance.id).order_by(Instance.started_at, Instance.id)).all()
    wanted = list(every) if only is None else [only]
    status = 0
    with database.reading() as session:
        known = seals.Ledger(session, trusted)
        for each, found in replay.verify_many(database.url, wanted, trusted=trusted, imports=("device.operators",)):
            erased = f", {found.erasure}" if found.erasure else ""
            for name, findings, events, sealed, more in (
                (str(each), found.findings, found.events, found.sealed, erased),
                (f"{each} custody", *verify_custody(session, each, known), ""),
            ):
                if events or findings:
                    extent = f"{events} events, {_extent(events, sealed)}{more}"
                    status |= _report(name, f"ok, {extent}", findings, bad=f"NOT OK, {extent}")
            session.rollback()
        count = len(list(seals.entries(session)))
        problems = known.problems + store_problems(session, settings)
    return status | _report("ledger", f"ok, {count} seals", problems)


def _extent(events: int, sealed: int) -> str:
    if sealed >= events:
        return "all sealed"
    return "none sealed yet" if not sealed else f"those after {sealed} not sealed yet"


def _verify_ledger(path: Path, history_file: Path | None, keys: tuple[Path, ...]) -> int:
    trusted = {ledger.fingerprint(ledger.load_public(key.read_text())) for key in keys} if keys else None
    entries = ledger.read(path.read_bytes())
    problems = list(ledger.problems_of(entries, trusted)) if entries else ["it is empty"]
    status = _report(str(path), f"ok, {len(entries)} seals", problems)
    if not problems:
        last = ledger.Statement.parse(entries[-1].statement)
        for key in sorted({ledger.Statement.parse(entry.statement).key for entry in entries}):
            click.echo(f"{path}: signed by {key}{'' if trusted else ' (compare with the key that you were given)'}")
        click.echo(f"{path}: the last seal is of {last.at}")
    if history_file is None:
        return status
    lines, in_bag = _history_lines(history_file)
    found = ledger.compare(lines, entries, beginning=in_bag)
    findings: list[Any] = list(found.findings)
    if not found.known:
        findings.append("this ledger does not hold it")
    elif not findings and found.known > found.events:
        click.echo(f"{history_file}: the ledger knows of {found.known} events; export them to compare them")
    extent = f"{found.kind} of {found.stream}, {found.events} events, {_extent(found.events, found.sealed)}"
    return status | _report(str(history_file), f"ok, {extent}", findings, bad=f"NOT OK, {extent}")


def _history_lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """An exported history; or, and then True, the one in a bag, whose instance stands in the file beside it."""
    try:
        lines = ledger.read_history(path.read_bytes())
        beside = path.with_name("heads.json")
        if not lines or "instance" in lines[0] or not beside.is_file():
            return lines, False
        of = {chain.name: str(chain.instance) for chain in bags.chains(orjson.loads(beside.read_bytes()))}
        return [{**line, "instance": of[path.stem]} for line in lines], True
    except (ValueError, TypeError, LookupError) as error:
        raise ledger.LedgerError("%(path)s is no exported history.", path=str(path)) from error


# ---- replay and history ---------------------------------------------------------------------------------------------


@click.command()
@click.argument("instance", type=click.UUID)
def replay_command(instance: UUID) -> None:
    """Print what happened, step by step, in the terms of the diagram."""
    with opened() as (database, _), database.reading() as session:
        instances.get(session, instance)
        for event in instances.visible_events(session, instance):
            what = event["label"] or event["element"]
            click.echo(f"{event['seq']:>4} {event['at']} {event['actor']:<12} {event['type']:<6} {what}")


@click.command()
@click.argument("instances", nargs=-1, type=click.UUID, metavar="[INSTANCE]...")
@click.option("--all", "everything", is_flag=True, help="Every instance.")
@click.option("--format", "kind", type=click.Choice(list(exports.FORMATS)), default="jsonl", show_default=True)
@click.option("--custody", is_flag=True, help="The log of the case instead (jsonl).")
@click.option("--out", type=click.File("wb"), default="-", help="Write to this file instead of the terminal.")
def history(instances: tuple[UUID, ...], everything: bool, kind: str, custody: bool, out: BinaryIO) -> None:
    """Export the history: jsonl as it was hashed; csv, xes (IEEE 1849) and ocel (OCEL 2.0) for process mining."""
    if bool(instances) == everything:
        raise click.UsageError("name one INSTANCE or more, or --all")
    if custody and kind != "jsonl":
        raise click.UsageError("the log of a case is exported as jsonl only")
    export_as = custody_jsonl if custody else exports.FORMATS[kind]
    with opened() as (database, _), database.reading() as session:
        wanted = list(instances) or session.scalars(select(Instance.id).order_by(Instance.started_at)).all()
        for part in export_as(session, wanted):
            out.write(part)


# ---- ledger ---------------------------------------------------------------------------------------------------------


@click.group("ledger")
def ledger_group() -> None:
    """The signed ledger of all histories (docs/ledger-format.md)."""


@ledger_group.command("export")
@click.option("--out", type=click.File("wb"), default="-", help="Write to this file instead of the terminal.")
def export(out: BinaryIO) -> None:
    """Write the whole ledger, one seal a line; `diaoqu verify --ledger` checks it anywhere."""
    with opened() as (database, _), database.reading() as session:
        for entry in seals.entries(session):
            out.write(entry.line())


@ledger_group.command("seal")
def seal() -> None:
    """Seal now what is not sealed yet."""
    with opened() as (database, settings):
        made = seals.seal(database, settings)
        seals.keep(database, settings)
        click.echo(f"{made} seals made")


@ledger_group.command("key")
def key() -> None:
    """Print the public key that belongs into the hands of the auditors, and its fingerprint."""
    settings = Settings.from_environment()
    public = seals.signing_key(settings).public_key()
    click.echo(ledger.public_pem(public), nl=False)
    click.echo(ledger.fingerprint(public), err=True)


COMMANDS: dict[str, click.Command] = {
    "verify": verify,
    "replay": replay_command,
    "history": history,
    "ledger": ledger_group,
}
