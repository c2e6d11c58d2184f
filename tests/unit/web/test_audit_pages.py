"""The audit desk: searching, stepping through a history, proving it or naming what was changed."""

import json
import re

import pytest
from procedure import House

from engine import listing
from web import audit, create_app


def embedded(page: str) -> dict:
    return json.loads(page.split('id="embedded">')[1].split("</script>")[0])


def address(house: House, number: int = 0) -> str:
    return f"/audit/cases/{house.requests()[number]}"


def test_an_untouched_history_is_proved(day: House, arrive) -> None:
    auditor = arrive(day, "auditor")
    page = auditor.get(f"{address(day)}?lang=en&verify=1").text
    assert 'data-verified="good"' in page
    assert "The history is intact" in page
    assert "data-verified" not in auditor.get(address(day)).text


@pytest.mark.parametrize("column", ["payload", "derived", "actor", "at"])
def test_a_flipped_byte_is_found_and_its_event_named(evening: House, arrive, column) -> None:
    change = f"UPDATE history SET {column} = substr({column}, 1, 3) || 'Z' || substr({column}, 5) WHERE seq = 4"  # noqa: S608 - a name of our own
    with evening.database.writer.connect() as connection:
        assert connection.exec_driver_sql(change).rowcount > 0
        connection.commit()
    app = create_app(evening.settings, evening.database)
    app.testing = True
    page = arrive(evening, "auditor").get(f"{address(evening)}?lang=en&verify=1").text
    assert 'data-verified="bad"' in page
    assert re.search(r'<a href="#event-4">Event 4</a>: its content is not what was hashed', page)


def test_a_changed_log_of_the_case_is_found_too(evening: House, arrive) -> None:
    with evening.database.writer.connect() as connection:
        connection.exec_driver_sql("DELETE FROM case_events WHERE seq = 3 AND case_id = 1")
        connection.commit()
    page = arrive(evening, "auditor").get(f"{address(evening)}?lang=en&verify=1").text
    assert 'data-verified="bad"' in page
    assert re.search(r"Log of the case, <a[^>]*#event-4.>Event 4</a>: event 3 is missing", page)


def test_the_replay_has_every_step_in_order_with_names_in_the_readers_language(day: House, arrive) -> None:
    page = arrive(day, "auditor").get(address(day)).text
    events = embedded(page)["events"]
    assert [event["element"] for event in events[:2]] == ["start_request", "start_request"]
    assert events[-1]["element"] == "end_archived"
    assert sorted(event["instant"] for event in events) == [event["instant"] for event in events]
    assert {"actor": "Zhao (reviewer)", "type": "leave", "element": "review_request"}.items() <= next(
        event.items() for event in events if (event["element"], event["type"]) == ("review_request", "leave")
    )
    assert embedded(page)["labels"]["初审（合法、合理）"].startswith("Preliminary review")


def test_chinese_readers_see_the_diagram_as_it_was_drawn(day: House, arrive) -> None:
    auditor = arrive(day, "auditor", "zh")
    assert embedded(auditor.get(address(day)).text)["labels"] == {}


def test_cases_are_found_by_number_person_and_state(day: House, arrive) -> None:
    auditor = arrive(day, "auditor")

    def found(query: str) -> int:
        return auditor.get(f"/audit/?lang=en&{query}").text.count('href="/audit/cases/')

    assert found("") == 2
    assert found("q=2026-0002") == 1
    assert found("q=applicant&state=running") == 1
    assert found("q=%25") == found("q=nobody") == 0
    assert found("state=completed") == 1
    assert found("page=2") == 0


def test_what_is_too_much_to_count_is_said_to_be_more(day: House, arrive, monkeypatch) -> None:
    auditor = arrive(day, "auditor")
    assert "2 found" in auditor.get("/audit/?lang=en").text
    monkeypatch.setattr(listing, "FEW", 1)
    monkeypatch.setattr(audit, "PAGE", 1)
    page = auditor.get("/audit/?lang=en&q=2026").text
    assert "more than 1 found" in page
    assert "1–1 of more than 1" in page
    assert 'href="/audit/?page=2&amp;q=2026' in page
    last = auditor.get("/audit/?lang=en&q=2026&page=2").text
    assert "2–2 of 2" in last
    assert "page=3" not in last
    assert "Under way (1)" in page
    monkeypatch.setattr(listing, "COUNTED", 0)
    page = auditor.get("/audit/?lang=zh").text
    assert "进行中 (0+)" in page
    assert "超过 1 个" in page


@pytest.mark.parametrize("username", ["applicant", "operator", "owner", "archivist"])
def test_only_auditors_and_administrators_audit(day: House, arrive, username) -> None:
    visitor = arrive(day, username)
    assert visitor.get("/audit/").status_code == 403
    assert visitor.get(address(day)).status_code == 403


def test_there_is_nothing_behind_an_invented_address(day: House, arrive) -> None:
    auditor = arrive(day, "auditor")
    assert auditor.get("/audit/cases/00000000-0000-4000-8000-000000000000").status_code == 404
