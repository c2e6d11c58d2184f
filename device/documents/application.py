"""《视频监控录像调取申请表》 (clauses 1.1–2.3): what was asked for, and every opinion and signature on it."""

from collections.abc import Mapping, Sequence
from typing import Any

from device.documents import wording as say
from device.documents.facts import CaseFacts, Person, Signed
from device.documents.parts import opinion, part, parts, places, signature_list, signed
from device.documents.sheet import Field, Sheet

TITLE = "视频监控录像调取申请表"
_EXTERNAL = {"police", "insurer", "data_subject"}


def application_form(data: Mapping[str, Any], case: CaseFacts, signatures: Sequence[Signed]) -> bytes:
    """The form as PDF. `data` is the process data; parts that a case never reached stay empty, as on paper."""
    sheet = Sheet(
        TITLE,
        "Application for the retrieval of video-surveillance footage",
        number=case.number,
        date=say.moment(case.opened_at)[:10],
    )
    application = part(data, "application")
    _applicant(sheet, application, case)
    _request(sheet, application, case)
    sheet.section("三、审批意见", "Opinions and approvals")
    head = part(data, "head_decision")
    sheet.decision("申请部门负责人意见", "Department head", opinion(head, "head_decision", case), signed(head, case))
    review = part(data, "review")
    sheet.decision("监控管理部门初审意见", "Preliminary review", opinion(review, "review", case), signed(review, case))
    _coverage(sheet, part(data, "coverage"))
    _committee(sheet, data, case)
    signature_list(sheet, signatures, case)
    sheet.note(
        "本表由流程记录生成。签名人以本人口令确认，所签内容及其 SHA-256 摘要一并保存，"
        "可用归档包内的 signatures.json 核对。"
    )
    return sheet.pdf()


def _applicant(sheet: Sheet, application: Mapping[str, Any], case: CaseFacts) -> None:
    username = str(application.get("by", ""))
    person = case.people.get(username, Person(username))
    sheet.section("一、申请人", "Applicant")
    sheet.fields(
        Field("申请部门", "Department", case.department or person.department),
        Field("申请人", "Applicant", person.name),
    )
    sheet.fields(
        Field("职务", "Position", say.text(application.get("position")) or person.title),
        Field("工号", "Employee no.", say.text(application.get("employee_no")) or person.employee_no),
    )
    kind = application.get("applicant_kind")
    sheet.fields(
        Field("联系电话", "Telephone", say.masked(application.get("phone") or person.phone)),
        Field("申请人类别", "Applicant type", case.said("application.applicant_kind", kind)),
    )
    if kind in _EXTERNAL:
        sheet.fields(
            Field("外单位名称", "External unit", say.text(application.get("external_unit"))),
            Field("法律文书号", "Document no.", say.text(application.get("document_no"))),
        )
        kind_of_document = case.said("application.id_type", application.get("id_type"))
        identity = f"{kind_of_document} {say.masked(application.get('id_number'))}".strip()
        sheet.fields(
            Field("办案（经办）人员", "Officers", say.masked(application.get("officers"))),
            Field("证件类型及号码", "Identity document", identity),
        )


def _request(sheet: Sheet, application: Mapping[str, Any], case: CaseFacts) -> None:
    sheet.section("二、调取内容", "What is requested")
    sheet.fields(Field("摄像机/地点", "Cameras and places", places(application.get("cameras"), case)))
    sheet.fields(Field("起止时间", "Time span", say.span(application.get("start_at"), application.get("end_at"))))
    sheet.fields(
        Field("时钟依据", "Clock basis", case.said("application.clock_basis", application.get("clock_basis"))),
        Field("预计覆盖时间", "Will be overwritten", say.moment(case.overwritten_at)),
    )
    sheet.fields(
        Field("调取方式", "Mode", case.said("application.mode", application.get("mode"))),
        Field("紧急程度", "Urgency", case.said("application.urgency", application.get("urgency"))),
    )
    sheet.fields(
        Field("目的类别", "Purpose", case.said("application.purpose", application.get("purpose"))),
        Field("案（事）件编号", "Incident no.", say.text(application.get("incident_no"))),
    )
    sheet.fields(Field("调取事由", "Reason", say.text(application.get("reason"))))
    basis = application.get("legal_basis_other") or case.said("application.legal_basis", application.get("legal_basis"))
    sheet.fields(Field("法律依据", "Legal basis", say.text(basis)))
    concerns = (("third_party", "第三人"), ("minors", "未成年人"), ("secret", "涉密"))
    involved = "；".join(f"{name}：{case.said(key, application.get(key))}" for key, name in concerns)
    sheet.fields(Field("涉及情况", "Concerns", involved))
    sheet.fields(
        Field("用途期限", "Use until", say.moment(application.get("use_until"))),
        Field("接收人", "Recipient", case.name(say.text(application.get("recipient")))),
    )
    promise = "本人承诺：录像仅用于上述目的，不私自传播、复制，用毕按期销毁或归还。"
    mark = "（已承诺）" if application.get("undertaking") is True else "（未承诺）"
    sheet.decision("保密承诺", "Undertaking", f"{promise}{mark}", signed(application, case))


def _coverage(sheet: Sheet, coverage: Mapping[str, Any]) -> None:
    rows = []
    for camera in coverage.get("cameras", []):
        gaps = [f"{say.span(gap[0], gap[1])} {say.said(say.GAP_CAUSE, gap[2])}" for gap in camera.get("gaps", [])]
        clock = say.offset(camera.get("clock_offset_seconds"), camera.get("clock_uncertainty_seconds"))
        name = f"{camera.get('name', '')}（{camera.get('camera', '')}）"
        status = say.said(say.COVERAGE, camera.get("status"))
        rows.append([name, status, "\n".join(gaps) or "无", clock, say.moment(camera.get("overwritten_at"))])
    sheet.fields(Field("录像核实结果", "Footage found", say.said(say.COVERAGE, coverage.get("status"))))
    if rows:
        sheet.table(
            [
                ("摄像机", "Camera"),
                ("有无", "Held"),
                ("缺口", "Gaps"),
                ("设备时差", "Clock offset"),
                ("覆盖时间", "Overwritten"),
            ],
            rows,
            [30, 18, 60, 35, 35],
        )


def _committee(sheet: Sheet, data: Mapping[str, Any], case: CaseFacts) -> None:
    votes = [vote for vote in parts(data, "votes") if vote.get("decision")]
    approving = sum(vote["decision"] == "approve" for vote in votes)
    needed = data.get("votes_needed")
    tally = f"同意 {approving} 票，已投 {len(votes)} 票" if votes else ""
    if votes and isinstance(needed, int):
        tally += f"，需同意 {needed} 票"
    lines = [f"{case.name(str(vote.get('by', '')))}：{opinion(vote, 'vote', case)}" for vote in votes]
    signers = [line for vote in votes for line in signed(vote, case)]
    sheet.decision("安全管理委员会审批意见", "Safety committee", "\n".join([tally, *lines]).strip(), signers)
    chair = part(data, "chair_decision")
    if chair:
        sheet.decision("主任委员意见", "Chair", opinion(chair, "chair_decision", case), signed(chair, case))
    for ratification in parts(data, "ratifications"):
        sheet.decision(
            "委员追认", "Ratification", opinion(ratification, "ratification", case), signed(ratification, case)
        )
    partial = part(data, "partial_decision")
    if partial:
        sheet.decision(
            "部分录像处理意见", "Partial footage", opinion(partial, "partial_decision", case), signed(partial, case)
        )
