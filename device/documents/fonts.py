"""Finding a Chinese font whose glyphs can be embedded, without a system package.

Noto Sans SC (OFL) comes with the bundled pages (npm). Debian's Noto CJK has PostScript outlines, which reportlab
cannot embed, so only TrueType fonts are looked for besides.
"""

from functools import cache
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont

from engine.errors import N_, EngineError
from engine.settings import ROOT

REGULAR, BOLD = "DiaoquRegular", "DiaoquBold"

_BUNDLED = ROOT / "web" / "assets" / "node_modules" / "@expo-google-fonts" / "noto-sans-sc"
_FILES = {REGULAR: "400Regular/NotoSansSC_400Regular.ttf", BOLD: "600SemiBold/NotoSansSC_600SemiBold.ttf"}
_SYSTEM = Path("/usr/share/fonts")
_ELSEWHERE = ("NotoSansSC*.ttf", "SourceHanSansSC*.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallback*.ttf")


class FontMissingError(EngineError):
    """No embeddable Chinese font is installed."""


def font_path(face: str = REGULAR) -> Path:
    """A TrueType file with Chinese glyphs. Raises FontMissingError."""
    bundled = _BUNDLED / _FILES[face]
    if bundled.is_file():
        return bundled
    for pattern in _ELSEWHERE:
        found = sorted(_SYSTEM.rglob(pattern))
        if found:
            return found[0]
    raise FontMissingError(N_("No Chinese font can be embedded: run `make setup`, which installs Noto Sans SC."))


@cache
def register() -> None:
    """Make the two faces known to reportlab, once per process. Raises FontMissingError."""
    for face in (REGULAR, BOLD):
        path = font_path(face)
        try:
            pdfmetrics.registerFont(TTFont(face, str(path)))
        except TTFError as error:
            raise FontMissingError(N_("The font %(path)s cannot be embedded."), path=str(path)) from error
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
