"""The look of a form: A4, a ruled table with bilingual labels, signature lines, page numbers.

The same input gives the same bytes: reportlab's invariant mode fixes dates and ids, and nothing here asks the clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_CENTER, TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from device.documents import fonts

INK, RULE, SHADE, QUIET = HexColor("#1a1a1a"), HexColor("#5f6b7a"), HexColor("#eef1f5"), HexColor("#5a6472")
MARGIN = 16 * mm
LABEL, VALUE = 27 * mm, 62 * mm
WIDTH = 2 * (LABEL + VALUE)
_CHUNK = 600
"""Longer texts are spread over several table rows, because a row does not break across pages."""


@dataclass(frozen=True)
class Field:
    """A label in both languages and its value."""

    zh: str
    en: str
    value: str


@dataclass(frozen=True)
class SignLine:
    """Who signed, when, and the digest of what was signed (in full; it is shortened where it is shown)."""

    name: str
    at: str
    digest: str = ""


class Sheet:
    """Collects the parts of a form and sets them. `pdf()` may be called once."""

    def __init__(self, zh: str, en: str, *, number: str, date: str) -> None:
        fonts.register()
        self.zh, self.number = zh, number
        self._parts: list[Flowable] = [
            Paragraph(escape(zh), _style(17, bold=True, align=TA_CENTER, leading=23)),
            Paragraph(escape(en), _style(8, color=QUIET, align=TA_CENTER, leading=12)),
            Spacer(1, 3 * mm),
            Table(
                [
                    [
                        _text(f"编号 No. {number}"),
                        Paragraph(f"日期 Date {escape(date)}", _style(9, align=TA_RIGHT)),
                    ]
                ],
                colWidths=[WIDTH / 2, WIDTH / 2],
                style=[("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0)],
            ),
        ]

    def section(self, zh: str, en: str) -> None:
        heading = Paragraph(f"{escape(zh)} {_small(en)}", _style(10.5, bold=True, leading=15))
        self._table([[heading]], [WIDTH], [("BACKGROUND", (0, 0), (-1, -1), SHADE)])
        self._parts[-1].keepWithNext = 1

    def fields(self, *fields: Field) -> None:
        """One line of the form: two fields side by side, or one across the page."""
        if len(fields) == 2:
            row = [part for field in fields for part in (_label(field), _text(field.value))]
            self._table([row], [LABEL, VALUE, LABEL, VALUE], [("BACKGROUND", (2, 0), (2, -1), SHADE)], labels=True)
            return
        for field in fields:
            rows = [["", _text(piece)] for piece in _pieces(field.value)]
            rows[0][0] = _label(field)
            self._table(
                rows, [LABEL, WIDTH - LABEL], [("SPAN", (0, 0), (0, -1))] if len(rows) == 1 else [], labels=True
            )

    def decision(self, zh: str, en: str, text: str, signed: Sequence[SignLine]) -> None:
        """An opinion with its signatures, as on paper: the text, and the signature line at the lower right."""
        rows: list[list[Any]] = [["", _text(piece)] for piece in _pieces(text)]
        rows[0][0] = _label(Field(zh, en, ""))
        rows += [["", _signature(line)] for line in signed or [SignLine("", "")]]
        self._table(rows, [LABEL, WIDTH - LABEL], [("LINEABOVE", (1, 1), (1, -1), 0, SHADE)], labels=True, inner=False)

    def table(self, head: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], widths: Sequence[float]) -> None:
        """A list with a heading row that repeats on every page; `widths` are shares of the page width."""
        total = sum(widths)
        cells: list[list[Any]] = [
            [Paragraph(f"{escape(zh)}<br/>{_small(en)}", _style(8, bold=True)) for zh, en in head]
        ]
        cells += [[_text(value, size=7.5) for value in row] for row in rows]
        style = [("BACKGROUND", (0, 0), (-1, 0), SHADE)]
        self._table(cells, [WIDTH * share / total for share in widths], style, repeat=1)

    def note(self, text: str) -> None:
        self._parts += [Spacer(1, 2 * mm), Paragraph(escape(text), _style(7.5, color=QUIET, leading=11))]

    def pdf(self) -> bytes:
        target = BytesIO()
        document = SimpleDocTemplate(
            target,
            pagesize=A4,
            leftMargin=MARGIN,
            rightMargin=MARGIN,
            topMargin=15 * mm,
            bottomMargin=18 * mm,
            title=f"{self.zh} {self.number}",
            author="调取 Diaoqu",
            lang="zh-CN",
            invariant=1,
        )
        number = self.number

        class Numbered(Canvas):
            """Writes the page numbers last, when their total is known."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self._pages: list[dict[str, Any]] = []

            def showPage(self) -> None:
                self._pages.append(dict(self.__dict__))
                self._startPage()  # type: ignore[attr-defined]  # the documented way to number pages needs it

            def save(self) -> None:
                for place, state in enumerate(self._pages, 1):
                    self.__dict__.update(state)
                    self.setFont(fonts.REGULAR, 8)
                    self.setFillColor(QUIET)
                    self.drawString(MARGIN, 10 * mm, number)
                    of = f"第 {place} 页 / 共 {len(self._pages)} 页  Page {place} of {len(self._pages)}"
                    self.drawRightString(A4[0] - MARGIN, 10 * mm, of)
                    super().showPage()
                super().save()

        document.build(self._parts, canvasmaker=Numbered)
        return target.getvalue()

    def _table(
        self,
        rows: list[list[Any]],
        widths: list[float],
        style: list[tuple[Any, ...]],
        *,
        labels: bool = False,
        inner: bool = True,
        repeat: int = 0,
    ) -> None:
        rules: list[tuple[Any, ...]] = [
            ("BOX", (0, 0), (-1, -1), 0.6, RULE),
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE" if inner else "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 2.2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3.4),
            ("LEFTPADDING", (0, 0), (-1, -1), 4),
            ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ]
        if inner:
            rules.append(("INNERGRID", (0, 0), (-1, -1), 0.4, RULE))
        if labels:
            rules += [("BACKGROUND", (0, 0), (0, -1), SHADE), ("LINEAFTER", (0, 0), (0, -1), 0.4, RULE)]
        self._parts.append(Table(rows, colWidths=widths, style=TableStyle(rules + style), repeatRows=repeat))


def _style(
    size: float,
    *,
    bold: bool = False,
    color: Any = INK,
    align: Literal[0, 1, 2] = TA_LEFT,
    leading: float | None = None,
) -> ParagraphStyle:
    return ParagraphStyle(
        "form",
        fontName=fonts.BOLD if bold else fonts.REGULAR,
        fontSize=size,
        leading=leading or size * 1.45,
        textColor=color,
        alignment=align,
        wordWrap="CJK",
    )


def _small(text: str) -> str:
    return f'<font name="{fonts.REGULAR}" size="6.5" color="#5a6472">{escape(text)}</font>'


def _label(field: Field) -> Paragraph:
    return Paragraph(f"{escape(field.zh)}<br/>{_small(field.en)}", _style(8.5, leading=11))


def _text(text: str, *, size: float = 9) -> Paragraph:
    return Paragraph(_markup(text), _style(size))


def _markup(text: str) -> str:
    """Text as markup; control characters, which no font can draw, are left out."""
    kept = "".join(char for char in text if char >= " " or char == "\n")
    return escape(kept).replace("\n", "<br/>")


def _pieces(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        lines += [line[start : start + _CHUNK] for start in range(0, len(line), _CHUNK)] or [""]
    pieces = [""]
    for line in lines:
        if (pieces[-1] and len(pieces[-1]) + len(line) > _CHUNK) or pieces[-1].count("\n") > 20:
            pieces.append(line)
        else:
            pieces[-1] = f"{pieces[-1]}\n{line}" if pieces[-1] else line
    return pieces


def _signature(line: SignLine) -> Table:
    digest = line.digest.removeprefix("sha256:")[:16]
    shown = f"{_small('签名摘要 SHA-256')} {digest}" if digest else ""
    role = (
        "签名 Signature" if digest or not line.name else "经办 Completed by"
    )  # only a digest shows that it was signed
    name = Paragraph(f"{_small(role)} <b>{_markup(line.name)}</b>", _style(9))
    time = Paragraph(f"{_small('时间 Time')} {_markup(line.at)}", _style(8.5))
    width = WIDTH - LABEL - 8
    return Table(
        [[name, time, Paragraph(shown, _style(8))]],
        colWidths=[width * 0.3, width * 0.33, width * 0.37],
        style=[
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
            ("LINEABOVE", (0, 0), (-1, 0), 0.25, SHADE),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
        ],
    )
