"""The command line `diaoqu`. Exit status: 0 done, 1 found a problem, 2 wrong use."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import click
from sqlalchemy import select

import device.operators  # noqa: F401 - registers what diagrams may call
from device import cases, copies, media_cli, retention
from device.cli import recorder, simulate_recorder
from device.models import Case
from device.watermark import printed
from engine import backtest, clock, definitions, identity, lint
from engine.errors import DefinitionError, DiaoquError, InvalidFormError, NotFoundError
from engine.jobs import LEASE
from engine.models import User
from engine.settings import ROOT
from web import proof
from web.setup import opened


class Group(click.Group):
    """Turns the project's errors, and the operating system's, into lines on stderr and exit status 1."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except DefinitionError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            context.exit(1)
        except InvalidFormError as error:
            for name, field in error.fields.items():
                click.echo(f"diaoqu: {name}: {field}", err=True)
            context.exit(1)
        except DiaoquError as error:
            click.echo(f"diaoqu: {error}", err=True)
            context.exit(1)
        except BrokenPipeError:
            raise  # click knows what to do when nobody reads on
        except OSError as error:
            click.echo(f"diaoqu: {error.filename or 'system'}: {error.strerror or error}", err=True)
            context.exit(1)


PORT = click.IntRange(1, 65535)


@click.group(cls=Group)
@click.version_option(package_name="diaoqu")
def main() -> None:
    """调取: runs the retrieval of video-surveillance footage, from application form to archived, provable evidence."""


main.add_command(recorder)
main.add_command(media_cli.commands)
main.add_command(simulate_recorder)
for _name, _command in proof.COMMANDS.items():
    main.add_command(_command, _name)


# ---- serving --------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8000, show_default=True)
@click.option("--first-run", is_flag=True, help="Make a secret key and deploy the procedure when there are none yet.")
def serve(host: str, port: int, first_run: bool) -> None:
    """Serve the pages, the REST API and the job worker in one process."""
    from web.server import Server
    from web.setup import prepare

    if first_run:
        prepare()
    with opened() as (_, settings):
        click.echo(f"http://{host}:{port}/")
    Server(settings, host=host, port=port, worker=True).run()


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8000, show_default=True)
def web(host: str, port: int) -> None:
    """Serve the pages and the REST API only; run `diaoqu worker` beside it."""
    from web.server import Server

    with opened() as (_, settings):
        pass
    Server(settings, host=host, port=port, worker=False).run()


@main.command()
@click.option("--site", help="Only jobs of this site (default: DIAOQU_SITE).")
@click.option("--slots", type=click.IntRange(1, 64), default=4, show_default=True, help="Jobs at a time.")
@click.option(
    "--lease",
    type=click.FloatRange(min=1),
    default=LEASE.total_seconds(),
    show_default=True,
    help="Seconds without a sign of life after which another worker takes a job over.",
)
def worker(site: str | None, slots: int, lease: float) -> None:
    """Run jobs and timers until a signal ends it."""
    import signal
    import threading

    from engine.worker import Worker

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with opened() as (database, settings):
        settings = replace(settings, site=site or settings.site)
        running = Worker(database, settings, slots, lease=timedelta(seconds=lease))
        running.start()
        click.echo("worker: waiting for jobs")
        stop.wait()
        running.stop()


# ---- leaks ----------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("code")
@click.option("--by", required=True, help="Who asks (noted on the case).")
def trace(code: str, by: str) -> None:
    """Say whose copy a code is that was read off a leaked clip; ? stands for a letter that cannot be read.

    Status 1 when no copy has it.
    """
    with opened() as (database, _), database.transaction() as session:
        if identity.find(session, by) is None:
            raise NotFoundError("There is no user %(username)s.", username=by)
        found = copies.trace(session, code, by=by)
        for copy in found:
            number = session.get_one(Case, copy.grant.case_id).number
            at = copy.asked_at.isoformat()
            click.echo("\t".join((printed(copy.code), copy.grant.username, number, copy.source.camera, at)))
    if not found:
        click.echo("diaoqu: no copy has this code", err=True)
        sys.exit(1)


# ---- definitions ----------------------------------------------------------------------------------------------------


def collect(paths: tuple[Path, ...]) -> dict[str, str]:
    """The files of folders (named from the folder) and single files (named alone). Raises DefinitionError."""
    files: dict[str, str] = {}
    single: dict[str, bytes] = {}
    for path in paths:
        if path.is_dir():
            files |= definitions.read_folder(path)
        else:
            single[f"forms/{path.name}" if path.suffix == ".form" else path.name] = path.read_bytes()
    files |= definitions.decoded(single)
    if not files:
        raise click.UsageError(f"there is no {', '.join(definitions.SUFFIXES)} file in {', '.join(map(str, paths))}")
    return files


PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))


@main.command()
@PATHS
@click.option("--note", default="", help="What changed and why.")
@click.option("--by", default="admin", show_default=True, help="Who deploys (recorded).")
def deploy(paths: tuple[Path, ...], note: str, by: str) -> None:
    """Deploy diagrams, decision tables and forms as a new version; cases under way stay on theirs."""
    with opened() as (database, _), database.transaction() as session:
        deployed = definitions.deploy(session, collect(paths), by=by, note=note)
    for found in deployed:
        click.echo(f"{found.process_id} version {found.version}")
    if not deployed:
        click.echo("Nothing has changed.")


@main.command("lint")
@PATHS
def lint_command(paths: tuple[Path, ...]) -> None:
    """Check diagrams, decision tables and forms; prints file:line: element: rule: message."""
    try:
        found = lint.lint(collect(paths))
    except DefinitionError as error:  # files that are no text
        found = error.problems
    for problem in found:
        click.echo(str(problem))
    sys.exit(1 if any(problem.severity == "error" for problem in found) else 0)


@main.command("backtest")
@PATHS
def backtest_command(paths: tuple[Path, ...]) -> None:
    """Execute all finished cases on revised files, without deploying them, and list where they would go another way."""
    diverging = 0
    with opened() as (database, _), database.reading() as session:
        for outcome in backtest.backtest(session, collect(paths)):
            name = f"{outcome.instance_id} {outcome.business_key}".strip()
            click.echo(f"{name}: {'DIVERGES' if outcome.differences else 'the same'}, {outcome.events} events")
            for difference in outcome.differences:
                click.echo(f"{name}: {difference}")
            diverging += bool(outcome.differences)
    sys.exit(1 if diverging else 0)


# ---- people ---------------------------------------------------------------------------------------------------------


@main.group()
def user() -> None:
    """People who sign in."""


@user.command("add")
@click.argument("username")
@click.option("--name", required=True)
@click.option("--group", "groups", multiple=True, help="May be repeated: reviewer, operator, archivist, …")
@click.option("--password-file", type=click.File(), help="First line is the password; otherwise it is asked for.")
def add_user(username: str, name: str, groups: tuple[str, ...], password_file: TextIO | None) -> None:
    """Create an account."""
    password = password_file.readline().rstrip("\n") if password_file else click.prompt("Password", hide_input=True)
    with opened() as (database, _), database.transaction() as session:
        identity.create_user(session, username, name=name, password=password, groups={"employee", *groups})
    click.echo(f"{username} created")


@user.command("list")
def list_users() -> None:
    """List accounts and their groups."""
    with opened() as (database, _), database.reading() as session:
        for found in session.scalars(select(User).order_by(User.username)):
            columns = (found.username, found.name, ",".join(sorted(found.groups)), "" if found.active else "inactive")
            click.echo("\t".join(columns))


@main.group()
def token() -> None:
    """Tokens of the REST API."""


@token.command("create")
@click.argument("username")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="Valid for so many days.")
def create_token(username: str, days: int) -> None:
    """Print a new bearer token of a person; it is shown this once."""
    with opened() as (database, _), database.transaction() as session:
        found = identity.find(session, username)
        if found is None:
            raise NotFoundError("There is no user %(username)s.", username=username)
        click.echo(identity.issue_token(session, found, label="cli", expires_at=clock.now() + timedelta(days=days)))


# ---- cases ----------------------------------------------------------------------------------------------------------


@main.group()
def case() -> None:
    """Cases, one per request for footage."""


@case.command("erase")
@click.argument("number")
@click.option("--disposal", required=True, help="The number under which the disposal is filed.")
@click.option("--reason", required=True)
@click.option("--by", required=True, help="Who orders it; asked for their password.")
@click.option("--with", "second", required=True, help="The second person, who approves it; asked for theirs.")
def erase_case(number: str, disposal: str, reason: str, by: str, second: str) -> None:
    """Destroy the key of a case's personal data, for ever; its history stays and can still be verified."""
    passwords = {name: click.prompt(f"Password of {name}", hide_input=True) for name in (by, second)}
    with opened() as (database, _), database.transaction() as session:
        found = cases.find(session, number)
        people = [identity.authenticate(session, name, passwords[name]) for name in (by, second)]
        erased = retention.erase_personal_data(
            session, found, disposal, by=people[0], approved_by=people[1], reason=reason
        )
    click.echo(f"{number}: {erased}")
    click.echo("The key is still in older backups of the database: they must expire too (docs/personal-data.md).")


# ---- database and demo ----------------------------------------------------------------------------------------------


@main.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
def upgrade() -> None:
    """Bring the schema to the newest version."""
    with opened() as (database, _):
        click.echo(f"{database.url.split('@')[-1]}: up to date")


@main.command()
@click.option("--port", type=PORT, default=8000, show_default=True)
@click.option("--exit", "leave", is_flag=True, help="End afterwards instead of leaving the service running.")
@click.option("--data", type=click.Path(path_type=Path), default=ROOT / "data" / "demo", show_default="data/demo")
def demo(port: int, leave: bool, data: Path) -> None:
    """Walk requests through the whole procedure over HTTP, with demo accounts and a simulated recorder."""
    from web.demo import run

    sys.exit(run(data=data, port=port, leave=leave))


if __name__ == "__main__":
    main()
