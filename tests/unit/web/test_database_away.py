"""Without its database the service says so to everybody, in either language, and asks to come back."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from engine.db import Database, DatabaseAwayError
from engine.settings import Settings
from web import create_app

NOBODY_LISTENS = "postgresql+psycopg://diaoqu@127.0.0.1:1/diaoqu"


@pytest.fixture
def stranded(tmp_path: Path) -> FlaskClient:
    stores = (f"file://{tmp_path / 'primary'}", f"file://{tmp_path / 'backup'}")
    settings = Settings(tmp_path, NOBODY_LISTENS, *stores, "a secret of more than thirty-two characters")
    return create_app(settings).test_client()


@pytest.mark.parametrize("path", ["/", "/tasks", "/sign-in", "/studio"])
@pytest.mark.parametrize(
    ("lang", "said"), [("en", "The database does not answer."), ("zh", "数据库没有应答。")], ids=["en", "zh"]
)
def test_a_page_says_that_the_database_does_not_answer(stranded: FlaskClient, path: str, lang: str, said: str) -> None:
    page = stranded.get(path, query_string={"lang": lang}, follow_redirects=True)
    assert (page.status_code, page.headers["Retry-After"]) == (503, "10")
    assert said in page.text


def test_a_program_gets_a_problem_document(stranded: FlaskClient) -> None:
    answer = stranded.get("/api/v1/tasks", query_string={"lang": "en"}, headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert answer.headers["Retry-After"] == "10"
    assert answer.json is not None
    assert answer.json["title"] == "This is not available at the moment"


def test_a_command_says_why_it_cannot_open_the_database() -> None:
    database = Database(NOBODY_LISTENS)
    with pytest.raises(DatabaseAwayError, match=r"cannot be opened: .*127\.0\.0\.1.*port 1\b"):
        database.upgrade()
    database.dispose()
