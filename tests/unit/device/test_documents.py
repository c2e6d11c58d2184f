import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pypdf
import pypdfium2
import pytest
from case_room import INSTANCE
from sqlalchemy.orm import Session

from device import documents
from device.documents import CaseFacts, Copied, Item, Person, Place, Signed, application_form, record_form
from device.documents import wording as say
from device.documents.fonts import BOLD, REGULAR, font_path
from device.models import Case
from engine.models import DeployedFile, Instance, ProcessDefinition
from engine.settings import ROOT

AT = datetime(2026, 2, 10, 1, 30, tzinfo=UTC)
MASTER = "sha256:" + "be" * 32

FACTS = CaseFacts(
    "调取-2026-0001",
    AT,
    department="销售部",
    overwritten_at=datetime(2026, 3, 3, 2, tzinfo=UTC),
    people={
        "applicant": Person("张三", "销售部", "主管", "E-1001", "010-5550100"),
        "head": Person("李四"),
        "reviewer": Person("吴九"),
        "operator": Person("郑十"),
        "member2": Person("赵六"),
        "member3": Person("孙七"),
    },
    cameras={
        "gate": Place("大门摄像机", "东门", "一号录像机"),
        "garage": Place("车库摄像机", "地下一层", "一号录像机"),
    },
)

REPORT = {
    "recording": "rec_gate",
    "requested": {"start": "2026-02-01T02:00:00+00:00", "end": "2026-02-01T02:10:00+00:00"},
    "complete": True,
    "first_frame": "2026-02-01T01:59:59+00:00",
    "last_frame": "2026-02-01T02:10:00+00:00",
    "frames": 15025,
    "packets_lost": 0,
    "codecs": ["h264", "pcm_mulaw"],
    "width": 1280,
    "height": 720,
    "gaps": [
        {"start": "2026-02-01T02:03:00+00:00", "end": "2026-02-01T02:04:30+00:00", "cause": "not_recorded"},
    ],
    "clock": {
        "offset": -12.3,
        "uncertainty": 0.02,
        "method": "onvif GetSystemDateAndTime",
        "measured_at": "2026-02-10T05:00:00+00:00",
    },
    "recorder": {"manufacturer": "Diaoqu", "model": "SIM-4", "serial": "S001", "firmware": "1.0"},
    "started": "2026-02-10T05:00:00+00:00",
    "finished": "2026-02-10T05:00:03+00:00",
}


def decided(by: str, decision: str = "approve", **more: Any) -> dict[str, Any]:
    signature = "sha256:" + f"{sum(by.encode()):04x}" * 16
    return {"decision": decision, "by": by, "at": "2026-02-10T02:00:00+00:00", "signature": signature, **more}


@pytest.fixture
def data() -> dict[str, Any]:
    return {
        "application": {
            "by": "applicant",
            "at": "2026-02-10T01:30:00+00:00",
            "cameras": ["gate", "garage"],
            "start_at": "2026-02-01T10:00:00+08:00",
            "end_at": "2026-02-01T10:10:00+08:00",
            "clock_basis": "recorder",
            "reason": "东门外电动车被盗，需核对嫌疑人离开方向。",
            "purpose": "incident",
            "legal_basis": "order_799",
            "applicant_kind": "police",
            "external_unit": "某区公安分局",
            "document_no": "调证〔2026〕15号",
            "officers": "刘一、陈二",
            "id_type": "police_card",
            "id_number": "110101199001011234",
            "mode": "copy",
            "urgency": "urgent",
            "third_party": "yes",
            "minors": "no",
            "secret": "no",
            "use_until": "2026-03-01",
            "recipient": "applicant",
            "undertaking": True,
        },
        "head_decision": decided("head", remark="情况属实"),
        "review": decided("reviewer", comment="目的正当，时段必要"),
        "coverage": {
            "status": "partial",
            "cameras": [
                {
                    "camera": "gate",
                    "name": "大门",
                    "status": "partial",
                    "gaps": [["2026-02-01T02:03:00+00:00", "2026-02-01T02:04:30+00:00", "not_recorded"]],
                    "clock_offset_seconds": -12.3,
                    "clock_uncertainty_seconds": 0.02,
                    "overwritten_at": "2026-03-03T02:00:00+00:00",
                }
            ],
        },
        "votes_needed": 2,
        "votes": [decided("member2"), decided("member3", conditions="限期归还")],
        "acquisitions": [{"camera": "gate", "item": 1, "viewing_item": 2, "verdict": "sound"}],
        "playback": decided("operator", "ok", complete=True, clear=True, continuous=False),
        "grant": {"mode": "copy", "user": "applicant", "expires_at": "2026-03-01T15:59:59+00:00"},
        "handover": {"at": "2026-02-10T05:31:00+00:00"},
        "record": decided("operator", operators="operator", witness="吴九", copies=1, reason="同申请"),
        "countersign": decided("reviewer", comment="复核一致"),
    }


@pytest.fixture
def items() -> list[Item]:
    key = "cases/调取-2026-0001/masters/gate-1a2b3c4d.mkv"
    verified = datetime(2026, 2, 10, 5, 30, tzinfo=UTC)
    copies = tuple(Copied(store, key, MASTER, verified) for store in ("primary", "backup"))
    rejected = "sha256:" + "dd" * 32
    return [
        Item(1, "master", "gate", "masters/gate-1a2b3c4d.mkv", 150_123_456, MASTER, None, {"report": REPORT}, copies),
        Item(2, "viewing_copy", "gate", "viewing/gate-1a2b3c4d.mp4", 99, "sha256:" + "ce" * 32, 1, {}, ()),
        Item(3, "master", "gate", "masters/gate-rejected.mkv", 5, rejected, None, {"report": REPORT}, ()),
    ]


SIGNED = [Signed("部门负责人签字", "head", AT, "sha256:" + "cd34" * 16)]


def text_of(pdf: bytes) -> str:
    return "".join(page.extract_text() for page in pypdf.PdfReader(BytesIO(pdf)).pages).replace("\n", "")


def test_the_application_form_says_what_was_asked_for_and_decided(data: dict[str, Any]) -> None:
    text = text_of(application_form(data, FACTS, SIGNED))
    for part in (
        "视频监控录像调取申请表",
        "调取-2026-0001",
        "销售部",
        "张三",
        "大门摄像机（gate，东门）",
        "2026-02-01 10:00:00 至 2026-02-01 10:10:00（UTC+8）",
        "2026-03-03 10:00:00",
        "东门外电动车被盗，需核对嫌疑人离开方向。",
        "某区公安分局",
        "情况属实",
        "目的正当，时段必要",
        "部分有",
        "2026-02-01 10:03:00 至 2026-02-01 10:04:30",
        "-12.300 秒",
        "同意 2 票，已投 2 票，需同意 2 票",
        "孙七：同意。限期归还",
        "第 1 页",
    ):
        assert part in text


def test_an_identity_number_is_shown_masked(data: dict[str, Any]) -> None:
    text = text_of(application_form(data, FACTS, SIGNED))
    assert "110***********1234" in text
    assert "110101199001011234" not in text


def test_a_signature_shows_who_when_and_the_digest(data: dict[str, Any]) -> None:
    text = text_of(application_form(data, FACTS, SIGNED))
    assert "李四" in text
    assert "2026-02-10 10:00:00" in text
    assert data["head_decision"]["signature"].removeprefix("sha256:")[:16] in text
    assert "cd34" * 16 in text


def test_the_record_form_says_what_was_really_retrieved(data: dict[str, Any], items: list[Item]) -> None:
    text = text_of(record_form(data, FACTS, SIGNED, items))
    for part in (
        "视频监控录像调取记录表",
        "Diaoqu SIM-4",
        "S001 / 1.0",
        "一号录像机 rec_gate",
        "-12.300 秒（±0.020 秒）",
        "2026-02-01 09:59:59 至 2026-02-01 10:10:00",
        "15025 帧，丢包 0，时长 0:10:01",
        "1280×720",
        "gate-1a2b3c4d.mkv",
        "be" * 32,
        "备份一：cases/调取-2026-0001",
        "备份二：cases/调取-2026-0001",
        "时间连续：否",
        "母件 master",
        "2026-03-01 23:59:59",
        "复核一致",
        "郑十",
    ):
        assert part in text


def test_footage_that_failed_the_playback_check_is_not_on_the_record(data: dict[str, Any], items: list[Item]) -> None:
    assert "gate-rejected" not in text_of(record_form(data, FACTS, SIGNED, items))


def test_a_case_that_has_only_begun_gives_a_form_with_empty_places() -> None:
    text = text_of(application_form({"application": {"by": "applicant"}}, FACTS, []))
    assert "申请部门负责人意见" in text
    assert "None" not in text
    assert "视频监控录像调取记录表" in text_of(record_form({}, FACTS, [], []))


@pytest.mark.parametrize("make", [application_form, lambda *given: record_form(*given, [])])
def test_all_glyphs_are_embedded(data: dict[str, Any], make: Callable[..., bytes]) -> None:
    fonts = {}
    for page in pypdf.PdfReader(BytesIO(make(data, FACTS, SIGNED))).pages:
        for font in page["/Resources"]["/Font"].values():  # type: ignore[index]
            fonts[font["/BaseFont"]] = font.get_object()
    used = {name: font for name, font in fonts.items() if name != "/Helvetica"}  # reportlab names it, nothing uses it
    assert any("NotoSansSC" in name for name in used)
    assert all("/FontFile2" in font["/FontDescriptor"] for font in used.values())


def test_the_rendered_page_has_ink_where_the_table_is_and_none_in_the_margin(data: dict[str, Any]) -> None:
    document = pypdfium2.PdfDocument(application_form(data, FACTS, SIGNED))
    try:
        page = document[0].render(scale=1).to_pil().convert("L")
    finally:
        document.close()
    width, height = page.size
    assert (round(width), round(height)) == (596, 842)
    dark = sum(page.crop((60, 60, width - 60, height - 60)).histogram()[:128])
    assert dark > 3000
    for margin in ((0, 0, 40, height), (width - 40, 0, width, height)):
        assert sum(page.crop(margin).histogram()[:250]) == 0


def test_the_same_data_gives_the_same_bytes_also_in_another_process(data: dict[str, Any]) -> None:
    here = application_form(data, FACTS, SIGNED)
    assert application_form(data, FACTS, SIGNED) == here
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hashlib\n"
        "from test_documents import *\n"
        "pdf = application_form({'application': {'by': 'applicant', 'reason': '同'}}, FACTS, SIGNED)\n"
        "print(hashlib.sha256(pdf).hexdigest())"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    first, second = (
        subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second


def test_other_data_gives_other_bytes(data: dict[str, Any]) -> None:
    other = replace(FACTS, number="调取-2026-0002")
    assert application_form(data, FACTS, SIGNED) != application_form(data, other, SIGNED)


@pytest.mark.parametrize(
    "reason", ["长" * 20_000, "行\n" * 500, "<b>&amp; ]]> </para>", "\x00\x07控制", "😀 emoji", ""]
)
def test_whatever_people_write_can_be_printed(data: dict[str, Any], reason: str) -> None:
    data["application"]["reason"] = reason
    pdf = application_form(data, FACTS, SIGNED)
    assert pdf.startswith(b"%PDF")
    assert text_of(pdf).count("长") in (0, 20_000)


def test_the_words_of_the_deployed_form_are_printed(session: Session, case: Case, data: dict[str, Any]) -> None:
    definition = session.get_one(ProcessDefinition, session.get_one(Instance, INSTANCE).definition_id)
    form = session.get_one(DeployedFile, (definition.deployment_id, "forms/application.form"))
    form.content = (
        '{"components": [{"type": "group", "components": [{"type": "select", "key": "purpose", '
        '"values": [{"value": "incident", "label": "新的措辞"}]}]}]}'
    )
    session.get_one(Instance, INSTANCE).data = data
    session.flush()
    text = text_of(documents.application_of(session, case))
    assert "新的措辞" in text
    assert "张三" in text  # from the directory
    assert "视频监控录像调取记录表" in text_of(documents.record_of(session, case))


def test_the_font_needs_no_system_package() -> None:
    for face in (REGULAR, BOLD):
        assert font_path(face).suffix == ".ttf"
        assert font_path(face).is_relative_to(ROOT / "web" / "assets")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        (None, ""),
        ("2026-02-01", "2026-02-01"),
        ("2026-02-01T02:00:00+00:00", "2026-02-01 10:00:00"),
        ("nonsense", "nonsense"),
    ],
)
def test_times_are_written_in_local_time(value: Any, shown: str) -> None:
    assert say.moment(value) == shown


@pytest.mark.parametrize(("number", "shown"), [("", ""), ("123", "123"), ("12345", "***45"), (None, "")])
def test_numbers_are_masked(number: Any, shown: str) -> None:
    assert say.masked(number) == shown
