"""《视频监控录像调取记录表》 (clause 4.2): what was retrieved, from which device, by whom, and where it is kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from device.documents import wording as say
from device.documents.facts import CaseFacts, Item, Signed
from device.documents.parts import opinion, part, parts, places, signature_list, signed
from device.documents.sheet import Field, Sheet

TITLE = "视频监控录像调取记录表"


def record_form(data: Mapping[str, Any], case: CaseFacts, signatures: Sequence[Signed], items: Sequence[Item]) -> bytes:
    """The form as PDF, pre-filled from the acquisition reports of `items`; `record` in `data` is what people added."""
    record, countersign = part(data, "record"), part(data, "countersign")
    date = say.moment(record.get("at") or case.opened_at)[:10]
    sheet = Sheet(TITLE, "Record of the retrieval of video-surveillance footage", number=case.number, date=date)
    _occasion(sheet, data, record, case, items)
    items = accepted(data, items)
    masters = [item for item in items if item.kind == "master" and item.master_id is None]
    for place, master in enumerate(masters, 1):
        _master(sheet, place, master, case, _acquisition(data, master))
        _segments(sheet, [item for item in items if item.kind == "master" and item.master_id == master.id])
    _playback(sheet, part(data, "playback"), record, case)
    _copies(sheet, items)
    _handover(sheet, data, record, case, copied=any(item.copies for item in items))
    sheet.section("签名", "Signatures")
    sheet.decision("操作人", "Operator", "本人确认上述记录与实际情况一致。", signed(record, case))
    sheet.decision("复核人", "Countersigned by", opinion(countersign, "countersign", case), signed(countersign, case))
    signature_list(sheet, signatures, case)
    return sheet.pdf()


def _occasion(
    sheet: Sheet, data: Mapping[str, Any], record: Mapping[str, Any], case: CaseFacts, items: Sequence[Item]
) -> None:
    application = part(data, "application")
    reports = [item.facts.get("report", {}) for item in items if item.kind == "master"]
    started = min((report["started"] for report in reports if report.get("started")), default=None)
    finished = max((report["finished"] for report in reports if report.get("finished")), default=None)
    sheet.section("一、调取经过", "The retrieval")
    sheet.fields(
        Field("申请编号", "Application no.", case.number),
        Field("申请部门", "Department", case.department),
    )
    sheet.fields(
        Field("调取时间", "Retrieved at", say.zoned(record.get("retrieved_at") or started)),
        Field("机器导出用时", "Export from and to", say.span(started, finished)),
    )
    sheet.fields(Field("摄像机/地点", "Cameras and places", places(application.get("cameras"), case)))
    sheet.fields(Field("调取原因", "Reason", say.text(record.get("reason")) or say.text(application.get("reason"))))
    operators = say.text(record.get("operators") or part(data, "playback").get("by"))
    sheet.fields(
        Field("调取人员", "Retrieved by", case.name(operators)),
        Field("见证人", "Witness", case.name(say.text(record.get("witness")))),
    )
    method = case.said("record.export_method", record.get("export_method") or "native_stream")
    measured = case.said("record.clock_method", record.get("clock_method"))
    sheet.fields(
        Field("导出方式", "Export method", "原始码流，未转码" if method == "native_stream" else method),
        Field("校时方式", "Clock compared by", measured),
    )


def _master(sheet: Sheet, place: int, master: Item, case: CaseFacts, acquisition: Mapping[str, Any]) -> None:
    report: Mapping[str, Any] = master.facts.get("whole") or master.facts.get("report", {})
    device: Mapping[str, Any] = report.get("recorder") or {}
    clock: Mapping[str, Any] = report.get("clock") or {}
    camera = case.cameras.get(master.camera)
    name = f"{camera.name}（{master.camera}）" if camera else master.camera
    sheet.section(f"录像 {place}：{name}", f"Footage {place}")
    sheet.fields(
        Field(
            "录像机厂家/型号", "Make and model", f"{device.get('manufacturer', '')} {device.get('model', '')}".strip()
        ),
        Field("序列号/固件", "Serial, firmware", f"{device.get('serial', '')} / {device.get('firmware', '')}"),
    )
    sheet.fields(
        Field("通道", "Channel", _joined(camera and camera.recorder, report.get("recording"))),
        Field("设备时差", "Recorder − true", say.offset(clock.get("offset"), clock.get("uncertainty"))),
    )
    sheet.fields(
        Field("时差测量方法", "Measured by", say.text(clock.get("method"))),
        Field("测量时间", "Measured at", say.moment(clock.get("measured_at"))),
    )
    first, last = report.get("first_frame"), report.get("last_frame")
    requested: Mapping[str, Any] = report.get("requested") or {}
    sheet.fields(Field("申请起止时间", "Requested span", say.span(requested.get("start"), requested.get("end"))))
    sheet.fields(Field("校正后实际起止", "True span acquired", say.span(first, last)))
    picture = f"{report.get('width') or '?'}×{report.get('height') or '?'}"
    frames = f"{report.get('frames', '')} 帧，丢包 {report.get('packets_lost', 0)}，时长 {say.length(first, last)}"
    sheet.fields(
        Field("编码/分辨率", "Codec, resolution", f"{say.text(list(report.get('codecs', [])))}，{picture}"),
        Field("帧数/时长", "Frames, duration", frames),
    )
    gaps = [
        f"{say.span(gap['start'], gap['end'])} {say.said(say.GAP_CAUSE, gap.get('cause'))}"
        for gap in report.get("gaps", [])
    ]
    verdict = acquisition.get("verdict") or master.facts.get("verdict", {}).get("verdict")
    sheet.fields(
        Field("完整性", "Complete", "完整" if report.get("complete") else "不完整"),
        Field("自动检查结论", "Automatic check", say.said(say.VERDICT, verdict)),
    )
    if gaps:
        sheet.fields(Field("缺口", "Gaps", "\n".join(gaps)))
    sheet.fields(
        Field("文件名", "File", master.file.rsplit("/", 1)[-1]),
        Field("大小", "Size", say.size(master.size)),
    )
    sheet.fields(Field("SHA-256", "Digest of the master", master.digest.removeprefix("sha256:")))


def _segments(sheet: Sheet, further: Sequence[Item]) -> None:
    """The further files of a long span; the first one is the file that is named above."""
    for item in further:
        report: Mapping[str, Any] = item.facts.get("report", {})
        shown = f"{item.file.rsplit('/', 1)[-1]}  {say.span(report.get('first_frame'), report.get('last_frame'))}"
        sheet.fields(Field("后续分段", "Further segment", f"{shown}\n{item.digest.removeprefix('sha256:')}"))


def _playback(sheet: Sheet, playback: Mapping[str, Any], record: Mapping[str, Any], case: CaseFacts) -> None:
    sheet.section("回放检查", "Playback check")
    marks = (("complete", "完整"), ("clear", "清晰"), ("continuous", "时间连续"), ("undamaged", "无损坏"))
    found = "；".join(f"{name}：{say.said(say.YES_NO, playback[key])}" for key, name in marks if key in playback)
    said = opinion(playback, "playback", case) or say.text(record.get("playback_result"))
    lines = [found, said, say.text(playback.get("gaps_seen")), say.text(record.get("gaps"))]
    sheet.decision("检查结果", "Result", "\n".join(line for line in lines if line), signed(playback, case))


def _copies(sheet: Sheet, items: Sequence[Item]) -> None:
    sheet.section("备份与衍生件", "Copies and derivatives")
    files = {item.id: item for item in items}
    rows = []
    for item in items:
        for copy in item.copies:
            sound = "一致" if copy.digest == item.digest else "不一致"
            where = f"{say.said(say.STORE, copy.store)}：{copy.key}"
            rows.append([item.file.rsplit("/", 1)[-1], where, sound, say.moment(copy.verified_at)])
    if rows:
        head = [("文件", "File"), ("位置", "Location"), ("校验", "Read back"), ("时间", "Time")]
        sheet.table(head, rows, [45, 75, 20, 38])
    for item in items:
        if item.master_id in files and item.kind != "master":
            master = files[item.master_id]
            shown = f"{item.file.rsplit('/', 1)[-1]}  {item.digest}\n母件 master {master.digest}"
            sheet.fields(Field("衍生件及母件", "Derivative and master", shown))


def _handover(
    sheet: Sheet, data: Mapping[str, Any], record: Mapping[str, Any], case: CaseFacts, *, copied: bool
) -> None:
    grant, handover, shelf = part(data, "grant"), part(data, "handover"), part(data, "shelf")
    application = part(data, "application")
    sheet.section("反馈、交接与归档", "Feedback, handover and archive")
    mode = grant.get("mode") or application.get("mode")
    sheet.fields(
        Field("反馈时间", "Told at", say.zoned(handover.get("at"))),
        Field("访问方式", "Access", case.said("application.mode", mode)),
    )
    recipient = case.name(say.text(record.get("recipient") or application.get("recipient") or grant.get("user")))
    sheet.fields(
        Field("接收人", "Recipient", recipient),
        Field("访问有效期", "Access until", say.zoned(grant.get("expires_at"))),
    )
    medium = case.said("shelf.medium", shelf.get("medium"))
    sheet.fields(
        Field("份数", "Number of copies", say.text(record.get("copies"))),
        Field("档案室架位", "Shelf", _joined(case.shelf or shelf.get("shelf"), medium)),
    )
    kept = "备份一、备份二，见“备份与衍生件”" if copied else say.text(record.get("storage"))
    sheet.fields(Field("存储位置", "Kept at", kept))
    sheet.fields(Field("备注", "Remarks", say.text(record.get("remarks"))))


def _acquisition(data: Mapping[str, Any], master: Item) -> Mapping[str, Any]:
    return next((found for found in parts(data, "acquisitions") if found.get("item") == master.id), {})


def _joined(*texts: Any) -> str:
    return " ".join(str(text) for text in texts if text)


def accepted(data: Mapping[str, Any], items: Sequence[Item]) -> list[Item]:
    """The masters that passed the playback check, with their viewing copies; all of them before there was a check."""
    kept = {found.get("item") for found in parts(data, "acquisitions")}
    if not kept:
        return list(items)
    for item in sorted(items, key=lambda item: item.id):  # what is made from others comes after them
        if item.master_id in kept:
            kept.add(item.id)
    return [item for item in items if item.id in kept]
