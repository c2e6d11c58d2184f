"""Alembic's entry: the engine comes from Database.upgrade, or from DIAOQU_DATABASE_URL when alembic itself is run."""

from typing import Any

from alembic import context

import device.models  # noqa: F401 - registers its tables
from engine.columns import Base, Instant, Json
from engine.db import Database
from engine.settings import Settings

config = context.config


def render_item(kind: str, item: Any, _autogen_context: Any) -> str | bool:
    """Migrations name what the database stores, not our types: they must still run when a type has changed."""
    if kind == "type" and isinstance(item, Instant):
        return "sa.String(length=32)"
    if kind == "type" and isinstance(item, Json):
        return "sa.Text()"
    return False


def run() -> None:
    engine = config.attributes.get("engine") or Database(Settings.from_environment().database_url).writer
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            compare_type=True,
            render_item=render_item,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
