"""Alembic's entry: the engine comes from Database.upgrade, or from DIAOQU_DATABASE_URL when alembic itself is run."""

from alembic import context

import device.models  # noqa: F401 - registers its tables
from engine.db import Database
from engine.models import Base
from engine.settings import Settings

config = context.config


def run() -> None:
    engine = config.attributes.get("engine") or Database(Settings.from_environment().database_url).writer
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


run()
