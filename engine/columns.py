"""How values are stored in columns, the same on every database: instants, JSON, sentences that people read later."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import MetaData, String, Text, TypeDecorator, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase

from engine.errors import Sentence


class Instant(TypeDecorator[datetime]):
    """A timezone-aware instant, stored as ISO 8601 text in UTC with microseconds: sortable, the same on every database.

    Raises:
        ValueError: a naive datetime is written.
    """

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetimes are not stored")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Json(TypeDecorator[Any]):
    """Plain JSON kept as TEXT in the order it was written (jsonb would reorder keys)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


LONGEST_TOLD = 4000


class Told(TypeDecorator[Sentence]):
    """A sentence that people read in their language later, as JSON: `{"template", "params"}`, see `Sentence.stored`.

    What is no such JSON was written before sentences were stored, and is said as it stands. What is too long is
    cut, and stays English.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sentence | None, _dialect: Dialect) -> str | None:
        if value is None:
            return None
        if len(english := str(value)) > LONGEST_TOLD:
            value = Sentence(english[:LONGEST_TOLD])
        return orjson.dumps(value.stored()).decode() if value else ""

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Sentence | None:
        if value is None:
            return None
        try:
            return Sentence.restored(orjson.loads(value))
        except (ValueError, TypeError, KeyError):
            return Sentence(value)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Instant, UUID: Uuid(), dict[str, Any]: Json, list[Any]: Json, list[str]: Json}  # noqa: RUF012
