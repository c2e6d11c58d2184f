"""Queries over 100,000 instances with two million events, and memory over 10,000 instances that each act once.

A few instances run through the public functions; their rows are then copied with new ids by the database itself. So
every row is one that the engine has written, but the copies' chains do not verify: the digests are the originals'.
One instance in twenty still runs; its open task belongs to one of 250 people. Four user tasks are kept per instance.

What a machine that others use says by its clock is as much about them: so the least of all rounds stands beside the
median, the processor time of this process beside the clock, and what each query looked at beside both: `whole` are the
tables that were gone through row by row, `pages` and `server_ms` are what PostgreSQL itself tells (EXPLAIN ANALYZE).
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Uuid,
    cast,
    create_engine,
    event,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.types import String

from device.models import Case
from engine import clock, identity, instances, listing
from engine import tasks as user_tasks
from engine.columns import Base, Instant
from engine.db import Database
from engine.listing import Wanted
from engine.models import Instance, User
from tests.bench.bench_engine import POSTGRES_URL, Bench, postgres_database
from tests.bench.models import FORMS

COUNT = int(os.environ.get("BENCH_INSTANCES", "100000"))
EVENTS = 20
PEOPLE = 250
RUNNING = 20
"""One instance in so many still runs."""
ROUNDS = 40
LIMIT_MS = 20
MEMORY_AT = (1_000, 10_000)


def run() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        yield from figures("sqlite", f"sqlite:///{folder}/scale.db")
    if POSTGRES_URL:
        with postgres_database() as url:
            yield from figures("postgresql", url)
    say(f"memory: {MEMORY_AT[-1]} instances, one after the other")
    command = [sys.executable, "-m", "tests.bench.bench_scale"]
    grown = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    few, many = (int(value) for value in grown)
    yield {
        "figure": f"memory (peak RSS, MB) after {MEMORY_AT[0]} and after {MEMORY_AT[1]} instances",
        "engine": [few // 1024, many // 1024],
        "ratio": round(many / few, 2),
        "goal_ratio": "flat",
    }


def say(what: str) -> None:
    """What takes minutes says where it is; the figures alone go to standard output."""
    print(f"… {what}", file=sys.stderr, flush=True)


def figures(name: str, url: str) -> Iterator[dict[str, Any]]:
    began = time.perf_counter()
    say(f"{name}: {COUNT} instances are being copied, a minute or two")
    bench = Bench(url)
    fill(bench)
    with bench.database.reading() as session:
        sizes = {name: session.scalar(select(func.count()).select_from(_TABLES[name])) for name in LARGE}
    yield {"figure": "rows", "database": name, **sizes, "filled_in_s": round(time.perf_counter() - began)}
    for what, ask in questions(bench.database).items():
        facts = {**measured(ask), **looked_at(bench.database, ask)}
        yield {"figure": what, "database": name, **facts, "goal_p95_ms": LIMIT_MS}
    bench.database.dispose()


# ---- filling --------------------------------------------------------------------------------------------------------

_TABLES = Base.metadata.tables
COPIED = [_TABLES[name] for name in ("instances", "history", "tasks")]
LARGE = [table.name for table in COPIED] + ["number_parts"]


def fill(bench: Bench) -> None:
    """COUNT instances: copies of one that runs and of one that has ended."""
    running, ended = (template(bench) for _ in range(2))
    with bench.database.transaction() as session:
        instances.cancel(session, ended, "bench", by="bench")
        bare = bench.user.password_hash
        at = clock.now()
        for number in range(PEOPLE):
            session.add(User(username=f"person{number}", name=f"Person {number}", password_hash=bare, created_at=at))
    bench.database.dispose()
    with filling(bench.database.url) as connection:
        _copy_all(connection, running, ended)


@contextmanager
def filling(url: str) -> Iterator[Connection]:
    """A connection that keeps nothing safe: a bench that breaks down begins anew."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode=OFF")
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
        yield connection
        connection.commit()
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
        if engine.dialect.name == "postgresql":  # its autovacuum does this, some minutes later
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM")
    engine.dispose()


def _copy_all(connection: Connection, running: UUID, ended: UUID) -> None:
    copies = Table(
        "copies", MetaData(), Column("old", Uuid), Column("new", Uuid), Column("n", Integer), Column("at", Instant)
    )
    copies.create(connection)
    at = clock.now()
    rows = [
        {
            "old": ended if number % RUNNING else running,
            "new": uuid4(),
            "n": number,
            "at": at - timedelta(minutes=number),
        }
        for number in range(COUNT - 2)
    ]
    connection.execute(insert(copies), rows)
    for table in COPIED:
        say(f"{table.name}")
        copy(connection, table, copies)
        connection.commit()
    copies.drop(connection)


def template(bench: Bench) -> UUID:
    """An instance with as many events as each is to have."""
    instance = bench.start("loop")
    for _ in range(EVENTS - 1):
        bench.complete(bench.open_task(instance), FORMS["loop"]["again"])
    return instance


def copy(connection: Connection, table: Table, copies: Table) -> None:
    """The rows of the copies: with their own ids, keys, times and people."""
    fresh = copies.c.new
    owner = "id" if table.name == "instances" else "instance_id"
    values: dict[str, Any] = {column.name: column for column in table.columns} | {owner: fresh}
    where = table.c[owner] == copies.c.old
    if table.name == "instances":
        number = cast(copies.c.n, String)
        values |= {"business_key": literal("BENCH-") + number, "started_by": _person(copies), "started_at": copies.c.at}
        values["state"] = func.replace(table.c.state, "cancelled", "completed")
    if table.name == "tasks":
        where &= table.c.id.in_(_kept(connection, table, copies))
        values |= {"id": _new_id(connection), "assignee": _person(copies)}
    query = select(*(value.label(name) for name, value in values.items())).where(where)
    connection.execute(insert(table).from_select(list(values), query))


def _kept(connection: Connection, table: Table, copies: Table) -> list[UUID]:
    """The newest four tasks of each instance that is copied."""
    kept: list[UUID] = []
    for old in connection.scalars(select(copies.c.old).distinct()).all():
        newest = select(table.c.id).where(table.c.instance_id == old).order_by(table.c.created_at.desc())
        kept.extend(connection.scalars(newest.limit(4)))
    return kept


def _person(copies: Table) -> Any:
    return literal("person") + cast(copies.c.n % PEOPLE, String)


def _new_id(connection: Connection) -> Any:
    if connection.dialect.name == "postgresql":
        return func.gen_random_uuid()
    return func.lower(func.hex(func.randomblob(16)))


# ---- asking ---------------------------------------------------------------------------------------------------------


def questions(database: Database) -> dict[str, Callable[[int], Any]]:
    """What the pages and the API ask: `engine.tasks.inbox`, `engine.listing`, and the query of web/audit.py."""

    def inbox(number: int) -> Any:
        with database.reading() as session:
            person = identity.find(session, f"person{number * 20 % PEOPLE}")
            assert person is not None
            found = user_tasks.inbox(session, person, at=clock.now())
            assert found
            return found

    def page(**wanted: Any) -> Callable[[int], Any]:
        def ask(number: int) -> Any:
            with database.reading() as session:
                found, _total = listing.find(session, Wanted(**wanted), limit=50, offset=number % 3 * 50)
                assert found
                return listing.standing(session, [one.id for one in found])

        return ask

    def by_number(number: int) -> Any:
        with database.reading() as session:
            found, total = listing.find(session, Wanted(key=f"BENCH-{number * 97 + 1}"), limit=50)
            assert total
            return found

    def history_of_one(number: int) -> Any:
        with database.reading() as session:
            key = f"BENCH-{number * 97 + 1}"
            instance = session.scalars(select(Instance).where(Instance.business_key == key)).one()
            return instances.visible_events(session, instance.id)

    def audit(word: str) -> Callable[[int], Any]:
        def ask(number: int) -> Any:
            with database.reading() as session:
                found, _total = listing.search(session, word, limit=50, offset=number % 3 * 50)
                session.scalars(select(Case).where(Case.instance_id.in_([one.id for one in found]))).all()
                return listing.count_states(session)

        return ask

    return {
        "inbox of a person": inbox,
        "instances, newest first, with the total": page(),
        "running instances, with the total": page(state="running"),
        "instances with a token at an element": page(element="again"),
        "instances by part of the case number": by_number,
        "instances by a part that many numbers have": page(key="-4"),
        "instances by two characters": page(key="77"),
        "instance page: its 20 events": history_of_one,
        "audit search without a word": audit(""),
        "audit search for a person": audit("person77"),
        "audit search for a part of a number": audit("NCH-4851"),
    }


def measured(ask: Callable[[int], Any]) -> dict[str, float]:
    ask(0)
    times, busy = [], []
    for number in range(ROUNDS):
        began, worked = time.perf_counter(), time.process_time()
        ask(number)
        times.append((time.perf_counter() - began) * 1000)
        busy.append((time.process_time() - worked) * 1000)
    return {
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(statistics.quantiles(times, n=20)[-1], 1),
        "min_ms": round(min(times), 1),
        "cpu_of_this_process_ms": round(statistics.median(busy), 1),
        "min_cpu_of_this_process_ms": round(min(busy), 1),
    }


def looked_at(database: Database, ask: Callable[[int], Any]) -> dict[str, Any]:
    """What the statements of one question look at, by the database's own word: the least of some rounds."""
    rounds = [_explained(database, ask, number) for number in range(1, 6)]
    found: dict[str, Any] = {"statements": rounds[0]["statements"]}
    found["whole"] = sorted(set().union(*(each["whole"] for each in rounds)))
    if not database.sqlite:
        found["pages"] = max(each["pages"] for each in rounds)
        found["server_ms"] = round(min(each["server_ms"] for each in rounds), 1)
    return found


def _explained(database: Database, ask: Callable[[int], Any], number: int) -> dict[str, Any]:
    found: dict[str, Any] = {"statements": 0, "whole": set(), "pages": 0, "server_ms": 0.0}

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        driver = connection.connection.driver_connection.cursor()
        found["statements"] += 1
        if database.sqlite:
            plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            found["whole"] |= {name for line in plan for name in LARGE if line == f"SCAN {name}"}
        else:
            told = driver.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
            [[[plan]]] = told.fetchall()
            found["server_ms"] += plan["Planning Time"] + plan["Execution Time"]
            found["pages"] += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
            found["whole"] |= set(_read_through(plan["Plan"]))

    event.listen(database.reader, "before_cursor_execute", explain)
    try:
        ask(number)
    finally:
        event.remove(database.reader, "before_cursor_execute", explain)
    return found


def _read_through(node: dict[str, Any]) -> Iterator[str]:
    """The large tables that a plan of PostgreSQL goes through row by row."""
    if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE:
        yield node["Relation Name"]
    for inner in node.get("Plans", ()):
        yield from _read_through(inner)


# ---- memory ---------------------------------------------------------------------------------------------------------


def memory() -> Iterator[int]:
    """Peak resident kilobytes of a process of its own that starts instances, completes their tasks, and goes on."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(f"sqlite:///{Path(folder) / 'memory.db'}")
        for number in range(1, MEMORY_AT[-1] + 1):
            instance = bench.start("loop")
            bench.complete(bench.open_task(instance), FORMS["loop"]["again"])
            if number in MEMORY_AT:
                yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(*memory())
