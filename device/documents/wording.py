"""How codes, times and sizes are written on the forms: Chinese, with the zone where it could be doubted."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from device.cases import LOCAL
from engine import personal

YES_NO = {"yes": "是", "no": "否", True: "是", False: "否"}
CHOICES = {
    "yes": "是",
    "no": "否",
    "incident": "案（事）件调查",
    "safety": "安全生产",
    "dispute": "纠纷处理",
    "police": "公安、司法机关",
    "data_subject": "被拍摄者本人",
    "insurance": "保险理赔",
    "insurer": "保险机构",
    "internal": "本单位",
    "other": "其他",
    "view": "仅查看",
    "still": "截取画面",
    "copy": "拷贝",
    "normal": "一般",
    "urgent": "加急",
    "emergency": "紧急",
    "recorder": "录像机画面时间",
    "standard": "标准时间",
    "approve": "同意",
    "send_back": "退回补正",
    "refuse": "不同意",
    "abstain": "弃权",
    "accept": "接受",
    "withdraw": "撤销",
    "ok": "合格",
    "retry": "不合格，重新调取",
}
"""What is printed when the deployed form does not word a choice itself."""

COVERAGE = {"complete": "有，完整", "partial": "部分有", "none": "无"}
GAP_CAUSE = {
    "not_recorded": "未录制",
    "packets_lost": "数据丢失",
    "connection": "连接中断",
    "unknown": "原因不明",
}
VERDICT = {"sound": "完整、无损", "warning": "可用，有提示", "damaged": "损坏"}
SEALED = "（个人信息，加密保存）"
"""In the archive, whose forms outlive the key."""

STORE = {"primary": "备份一", "backup": "备份二"}


def said(table: Mapping[Any, str], code: Any) -> str:
    """The wording of a code; a code that a revised diagram added is shown as it is, a missing one as empty."""
    if code is None:
        return ""
    return table.get(code, str(code))


def moment(value: object) -> str:
    """`2026-02-01 18:00:00` in the local zone, from a datetime or ISO 8601 text; other text stays as it is."""
    if not value:
        return ""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    if not isinstance(value, datetime):
        return str(value)
    if value.tzinfo is None:
        return f"{value:%Y-%m-%d}"
    return f"{value.astimezone(LOCAL):%Y-%m-%d %H:%M:%S}"


def zoned(value: Any) -> str:
    text = moment(value)
    return f"{text}（UTC+8）" if ":" in text else text


def span(start: Any, end: Any) -> str:
    return f"{moment(start)} 至 {zoned(end)}" if start and end else ""


def offset(seconds: Any, uncertainty: Any = None) -> str:
    """Recorder clock minus true clock, signed, in seconds."""
    if seconds is None:
        return ""
    text = f"{float(seconds):+.3f} 秒"
    return text if uncertainty is None else f"{text}（±{float(uncertainty):.3f} 秒）"


def length(start: Any, end: Any) -> str:
    try:
        lasted = datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))
    except ValueError:
        return ""
    return str(timedelta(seconds=round(lasted.total_seconds())))


def size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB（{count:,} 字节）"


def masked(value: Any) -> str:
    """As `text`, with the middle of numbers hidden (PROCEDURE, Forms)."""
    return str(personal.masked(text(value)))


def text(value: Any) -> str:
    """Any form value in one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return YES_NO[value]
    if isinstance(value, list):
        return "、".join(text(item) for item in value)
    if personal.is_envelope(value):
        return SEALED
    return str(value)
