"""Parts that both forms have: opinions, signature lines, the list of signatures."""

from collections.abc import Mapping, Sequence
from typing import Any

from device.documents import wording as say
from device.documents.facts import CaseFacts, Signed
from device.documents.sheet import Sheet, SignLine


def signature_list(sheet: Sheet, signatures: Sequence[Signed], case: CaseFacts) -> None:
    if not signatures:
        return
    sheet.section("电子签名清单", "Electronic signatures")
    sheet.table(
        [("环节", "Step"), ("签名人", "Signer"), ("时间", "Time"), ("所签内容的 SHA-256", "Digest of what was signed")],
        [
            [one.step, case.name(one.username), say.moment(one.at), one.digest.removeprefix("sha256:")]
            for one in signatures
        ],
        [40, 25, 38, 75],
    )


def places(cameras: Any, case: CaseFacts) -> str:
    names = []
    for key in cameras or []:
        camera = case.cameras.get(key)
        names.append(f"{camera.name}（{key}，{camera.place}）" if camera else str(key))
    return "\n".join(names)


def part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def parts(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = data.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def opinion(form: Mapping[str, Any], name: str, case: CaseFacts) -> str:
    """The decision of the form `name` with its reasons and conditions, in one line."""
    reasons = [say.text(form.get(key)) for key in ("remark", "comment", "conditions")]
    pieces = [case.said(f"{name}.decision", form.get("decision")), *reasons]
    return "。".join(piece.rstrip("。") for piece in pieces if piece)


def signed(form: Mapping[str, Any], case: CaseFacts) -> list[SignLine]:
    if not form.get("by"):
        return []
    return [SignLine(case.name(str(form["by"])), say.moment(form.get("at")), str(form.get("signature", "")))]
