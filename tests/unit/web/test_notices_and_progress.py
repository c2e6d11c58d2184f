"""The bell, the diagrams, and progress that survives a reload."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from device.models import Case
from engine import definitions
from engine.db import Database
from engine.models import Instance, Job, Notification


def test_the_bell_counts_what_is_unread_and_a_notice_leads_to_its_task(submitted, visitor, office: Database) -> None:
    head = visitor("head")
    page = head.get("/notices").text
    assert "A task waits for you: Department head signs." in page
    assert "调取-2026-0001" in page
    assert "1 unread notice" in page
    address = re.search(r'action="(/notices/\d+)"', page)[1]  # type: ignore[index]
    assert visitor("outsider").post(address).status_code == 404
    assert head.post(address).location == head.tasks()[0]
    assert "unread notice" not in head.get("/notices").text


def test_a_notice_is_read_in_chinese_and_in_english(submitted, visitor, office: Database) -> None:
    """Its text comes with the diagram, in Chinese, and its English with the diagram's catalogue."""
    head = visitor("head")
    assert "有任务待您办理：部门负责人签字。" in head.get("/notices?lang=zh").text
    head.sign(head.tasks()[0], {"decision": "refuse", "comment": "Not at our gate"})
    assert "申请 调取-2026-0001 已驳回：Not at our gate" in submitted.get("/notices?lang=zh").text
    assert "Request 调取-2026-0001 was refused: Not at our gate" in submitted.get("/notices?lang=en").text


def test_a_notice_shows_instants_and_labels_in_the_reader_s_way(submitted, visitor, office: Database) -> None:
    with office.transaction() as session:
        notice = session.scalars(select(Notification).where(Notification.username == "head")).one()
        notice.template = (
            "申请 %(number)s 的录像已调取。访问方式：%(access)s，有效期至 %(expires_at)s；存储位置：%(storage)s"
        )
        notice.params = {
            "number": "调取-2026-0001",
            "access": "仅查看",
            "expires_at": "2026-04-01T16:00:00+00:00",
            "storage": "primary：a",
        }
    page = visitor("head").get("/notices?lang=en").text
    assert "Access: View only, until 2026-04-02 00:00. Stored at: primary：a" in page


def test_a_notice_whose_text_does_not_fit_is_shown_as_it_stands(submitted, visitor, office: Database) -> None:
    with office.transaction() as session:
        notice = session.scalars(select(Notification).where(Notification.username == "head")).one()
        notice.template = "100 % sure of %(nobody)s"
    answer = visitor("head").get("/notices")
    assert answer.status_code == 200
    assert "100 % sure of %(nobody)s" in answer.text


def test_a_notice_never_leads_to_another_site(submitted, visitor, office: Database) -> None:
    with office.transaction() as session:
        notice = session.scalars(select(Notification).where(Notification.username == "head")).one()
        notice.link = "https://evil.example/"
        identity = notice.id
    assert visitor("head").post(f"/notices/{identity}").location == "/notices"


def test_all_notices_are_read_at_once(submitted, visitor, office: Database) -> None:
    head = visitor("head")
    head.post("/notices/read")
    with office.reading() as session:
        assert all(
            notice.read_at for notice in session.scalars(select(Notification).where(Notification.username == "head"))
        )


def test_the_diagram_is_served_as_it_was_deployed(office: Database, visitor) -> None:
    with office.reading() as session:
        deployed = definitions.get(session, "footage_retrieval")
    answer = visitor("outsider").get(f"/diagrams/{deployed.id}.bpmn")
    assert answer.content_type.startswith("application/xml")
    assert 'id="footage_retrieval"' in answer.text
    assert visitor("outsider").get("/diagrams/99.bpmn").status_code == 404


@pytest.fixture
def job(submitted, visitor, office: Database) -> Job:
    """The question to the recorder, which a worker has just begun to ask."""
    head = visitor("head")
    head.sign(head.tasks()[0], {"decision": "approve"})
    reviewer = visitor("reviewer")
    ticks = ("lawful", "legitimate", "minimal", "identity_checked")
    reviewer.post(reviewer.tasks()[0], {"decision": "approve", "comment": "lawful", **dict.fromkeys(ticks, "true")})
    with office.transaction() as session:
        found = session.scalars(select(Job)).one()
        found.state = "running"
        found.progress = {"fraction": 0.5, "bytes": 1_000_000, "media_seconds": 60, "speed": 200.0, "camera": "gate"}
    return found


def events(stream: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    for chunk in stream:
        found = re.match(r"event: (\w+)\ndata: (.*)\n", chunk.decode())
        if found:
            yield found[1], json.loads(found[2])


def test_progress_is_streamed_until_the_end(job: Job, submitted, office: Database) -> None:
    answer = submitted.get(f"/jobs/{job.id}/events")
    assert answer.content_type == "text/event-stream"
    stream = events(iter(answer.response))
    kind, facts = next(stream)
    assert kind == "progress"
    assert facts["jobs"][0]["fraction"] == 0.5
    assert facts["jobs"][0]["camera"] == "gate"
    with office.transaction() as session:
        session.get_one(Job, job.id).state = "done"
    kind, facts = next(stream)
    assert (kind, facts["jobs"][0]["fraction"]) == ("end", 1.0)
    assert next(stream, None) is None


def test_the_progress_of_a_case_names_its_jobs_and_its_newest_event(job: Job, submitted, office: Database) -> None:
    with office.reading() as session:
        case = session.scalars(select(Case)).one()
        seq = session.get_one(Instance, job.instance_id).seq
    answer = submitted.get(f"/cases/{case.id}/progress")
    kind, facts = next(events(iter(answer.response)))
    assert (kind, facts["seq"]) == ("progress", seq)
    assert [found["id"] for found in facts["jobs"]] == [str(job.id)]
    answer.close()


def test_progress_is_for_those_who_have_a_part_in_the_case(job: Job, visitor) -> None:
    outsider = visitor("outsider")
    assert outsider.get(f"/jobs/{job.id}/events").status_code == 404
    assert outsider.get("/cases/1/progress").status_code == 404
    assert outsider.get(f"/instances/{job.instance_id}/progress").status_code == 404
    assert outsider.get("/cases/99/progress").status_code == 404


def test_a_page_that_is_reloaded_shows_the_progress_so_far(job: Job, visitor) -> None:
    head = visitor("head")
    done = re.findall(r'href="(/tasks/[0-9a-f-]{36})"', head.get("/tasks?show=done").text)[0]
    page = head.get(done).text
    assert f'data-job="{job.id}"' in page
    assert '<progress max="1" value="0.5"' in page
    assert "200× real time" in page
