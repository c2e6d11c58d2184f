"""The index behind the search for a part of a case number: what the number is from each of its characters on.

A part of a number is the beginning of one of these pieces, so a range of the primary key holds all numbers that may
have it; the plain comparison then decides. Both databases fold upper and lower case by their own `lower`, as their
comparison does. Triggers keep the pieces: nobody who writes a number has to think of them, and a step has no statement
more. A number that was changed leaves its pieces behind: they name a number that no instance has, and find nothing.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func
from sqlalchemy.orm import InstrumentedAttribute

PIECE = 16
"""Characters of a piece; of a longer part only so many narrow the search down."""

_EVER = "CREATE TRIGGER number_parts_of_new AFTER INSERT ON instances"
_CHANGED = "CREATE TRIGGER number_parts_of_changed AFTER UPDATE OF business_key ON instances"

_SQLITE = f"""
BEGIN
    INSERT INTO number_parts (part, business_key)
    SELECT substr(lower(NEW.business_key), n, {PIECE}), NEW.business_key
    FROM (
        WITH RECURSIVE positions (n) AS (
            SELECT 1 UNION ALL SELECT n + 1 FROM positions WHERE n < length(NEW.business_key)
        )
        SELECT n FROM positions
    )
    WHERE true
    ON CONFLICT DO NOTHING;
END
"""  # noqa: S608 - a number of our own

_POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION keep_number_parts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO number_parts (part, business_key)
    SELECT substr(lower(NEW.business_key), n, {PIECE}), NEW.business_key
    FROM generate_series(1, length(lower(NEW.business_key))) AS n
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$
"""  # noqa: S608 - a number of our own

_KEPT_BY = {
    "sqlite": [
        f"{_EVER} WHEN NEW.business_key <> '' {_SQLITE}",
        f"{_CHANGED} WHEN NEW.business_key NOT IN ('', OLD.business_key) {_SQLITE}",
    ],
    "postgresql": [
        _POSTGRESQL,
        f"{_EVER} FOR EACH ROW WHEN (NEW.business_key <> '') EXECUTE FUNCTION keep_number_parts()",
        f"{_CHANGED} FOR EACH ROW WHEN (NEW.business_key NOT IN ('', OLD.business_key))"
        " EXECUTE FUNCTION keep_number_parts()",
    ],
}
_FORGOTTEN_BY = {
    "sqlite": ["DROP TRIGGER number_parts_of_new", "DROP TRIGGER number_parts_of_changed"],
    "postgresql": ["DROP FUNCTION keep_number_parts() CASCADE"],
}


def keep(_table: Table, connection: Connection, **_more: Any) -> None:
    """Tell the database to keep the pieces, once the tables are there; a listener to `after_create`."""
    for statement in _KEPT_BY[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def forget(_table: Table, connection: Connection, **_more: Any) -> None:
    """The reverse; a listener to `before_drop`."""
    for statement in _FORGOTTEN_BY[connection.dialect.name]:
        connection.exec_driver_sql(statement)


_LAST = "\U0010ffff" * PIECE
"""No piece comes after it: compared by code point, as SQLite does and PostgreSQL in the collation C."""


def begins(piece: InstrumentedAttribute[str], part: str) -> ColumnElement[bool]:
    """Whether a stored piece begins with `part`, or with as much of it as a piece holds."""
    beginning = func.substr(func.lower(part), 1, PIECE)
    return and_(piece >= beginning, piece <= beginning.concat(_LAST))
