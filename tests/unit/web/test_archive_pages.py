"""The archive room's list (clause 5.1)."""

import pytest
from procedure import House


def test_an_archived_case_stands_on_its_shelf_and_opens_for_the_archivist(day: House, arrive) -> None:
    archivist = arrive(day, "archivist")
    page = archivist.get("/archive/").text
    number = day.case(day.requests()[0]).number
    assert number in page
    assert "A-03-17" in page
    assert f"archive/{number}" in page
    assert "Disk array" in page
    assert day.case(day.requests()[1]).number not in page
    assert archivist.get(f"/cases/{day.case(day.requests()[0]).id}").status_code == 200


def test_the_shelf_is_searched(day: House, arrive) -> None:
    archivist = arrive(day, "archivist")
    assert "A-03-17" in archivist.get("/archive/?lang=en&q=a-03").text
    assert "No archived case matches" in archivist.get("/archive/?lang=en&q=B-99").text


def test_an_empty_archive_says_what_belongs_there(house: House, arrive) -> None:
    assert "Nothing is archived yet" in arrive(house, "archivist").get("/archive/").text


@pytest.mark.parametrize("username", ["applicant", "operator", "reviewer", "member1"])
def test_the_archive_is_for_archivists_and_auditors(day: House, arrive, username) -> None:
    assert arrive(day, username).get("/archive/").status_code == 403
