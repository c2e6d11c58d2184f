"""What a request asks of the database."""

from sqlalchemy import event

from engine.db import Database


class Watch:
    """Counts what reaches the database while it looks."""

    def __init__(self, database: Database) -> None:
        self.engines = {database.reader, database.writer}
        self.statements: list[str] = []
        self.commits = 0

    def __enter__(self) -> "Watch":
        for engine in self.engines:
            event.listen(engine, "before_cursor_execute", self._statement)
            event.listen(engine, "commit", self._commit)
        return self

    def __exit__(self, *_error: object) -> None:
        for engine in self.engines:
            event.remove(engine, "before_cursor_execute", self._statement)
            event.remove(engine, "commit", self._commit)

    def _statement(self, *seen: object) -> None:
        if not str(seen[2]).startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            self.statements.append(str(seen[2]))

    def _commit(self, _connection: object) -> None:
        self.commits += 1
