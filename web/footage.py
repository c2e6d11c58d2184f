"""The footage of a case in the browser: what is known about each master, and its viewing copy in a player (P3, N2).

Every view is logged when it begins, whoever sees it and however often. A player fetches one film in many ranges, so
the range that begins the film counts as the view; a range from the middle counts when no view was logged before it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, request, send_file
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import access, copies, evidence
from device.access import Permission
from device.models import Case, CaseEvent, EvidenceItem
from engine import clock
from engine.errors import N_, ConflictError, NotAllowedError, NotFoundError
from engine.models import Instance, User
from web.auth import person
from web.case_access import visible_case
from web.edge import reading, settings, transaction

blueprint = Blueprint("footage", __name__, url_prefix="/cases")

SAME_BEGINNING = timedelta(seconds=10)
"""Players ask for the beginning of a film twice within moments: once for its index, once to play it."""

LONGEST_PLAY = timedelta(hours=6)


# ---- what is known --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Take:
    """One retrieval of one camera: the untouched master, and what was found out about it and made of it.

    `verdict` is "", sound, warning or damaged. `replaced`: it failed the playback check, a later one counts.
    A long retrieval has several masters, each a take by itself: `part` of `parts`, in the order of time.
    """

    master: EvidenceItem
    viewing: EvidenceItem | None
    report: dict[str, Any]
    verdict: str = ""
    redacted: EvidenceItem | None = None
    findings: list[dict[str, Any]] = field(default_factory=list)
    replaced: bool = False
    part: int = 1
    parts: int = 1


@dataclass(frozen=True)
class Film:
    """One retrieval of one camera as it is watched: its takes in the order of time, and the report of the whole."""

    takes: list[Take]

    @property
    def first(self) -> Take:
        return self.takes[0]

    @property
    def report(self) -> dict[str, Any]:
        return self.first.master.facts.get("whole") or self.first.report

    @property
    def verdict(self) -> str:
        """The worst that was found in a part, once all of them have been checked."""
        verdicts = [take.verdict for take in self.takes]
        return max(verdicts, key=_SEVERITY.index) if all(verdicts) else ""


_SEVERITY = ("sound", "warning", "damaged")


def takes(session: Session, case: Case, instance: Instance) -> list[Take]:
    """What was retrieved for a case, in the order of the cameras' retrieval; what counts before what was replaced.

    The parts of a long retrieval follow one another.
    """
    items = evidence.items_of(session, case, "master", "viewing_copy", "redacted_copy", "report")
    counted = _counted(instance)
    numbers: Counter[int] = Counter()
    found = []
    for master in items:
        if master.kind != "master":
            continue
        numbers[_whole(master)] += 1
        derived = [item for item in items if item.master_id == master.id]
        checks = [item.facts["verdict"] for item in derived if item.kind == "report" and "verdict" in item.facts]
        found.append(
            Take(
                master,
                next((item for item in reversed(derived) if item.kind == "viewing_copy"), None),
                master.facts.get("report") or {},
                checks[-1]["verdict"] if checks else "",
                next((item for item in reversed(derived) if item.kind == "redacted_copy"), None),
                checks[-1]["findings"] if checks else [],
                bool(counted) and not {master.id, master.master_id} & counted,
                numbers[_whole(master)],
            )
        )
    found = [replace(take, parts=numbers[_whole(take.master)]) for take in found]
    return sorted(found, key=lambda take: (take.replaced, _whole(take.master), take.part))


def films(found: Sequence[Take]) -> list[Film]:
    """The takes, those of one retrieval together."""
    return [Film(list(parts)) for _, parts in groupby(found, key=lambda take: _whole(take.master))]


def _whole(master: EvidenceItem) -> int:
    """The first master of the retrieval, which stands for all of it."""
    return master.master_id or master.id


def _counted(instance: Instance) -> set[int]:
    """The masters that the process goes on with, once it has collected them."""
    collected = instance.data.get("acquisitions")
    found = {one.get("item") for one in collected if isinstance(one, dict)} if isinstance(collected, list) else set()
    return {item for item in found if isinstance(item, int)}


def acquired(found: Sequence[Take]) -> dict[str, list[list[str]]]:
    """What was truly retrieved, per camera, for the timeline: from the first to the last frame, without the gaps."""
    spans: dict[str, list[list[str]]] = {}
    for take in found:
        first, last = take.report.get("first_frame"), take.report.get("last_frame")
        if take.replaced or not first or not last:
            continue
        edges = [first]
        for gap in take.report.get("gaps") or ():
            if first < gap["start"] and gap["end"] < last:
                edges += [gap["start"], gap["end"]]
        edges.append(last)
        found_spans = spans.setdefault(take.master.camera, [])
        found_spans += [[a, b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return spans


# ---- the film -------------------------------------------------------------------------------------------------------


def permission_of(session: Session, case: Case, user: User) -> Permission:
    """Raises NotAllowedError when the person may not see the footage of the case now."""
    permission = access.may_view(session, case, user, clock.now())
    if permission is None:
        raise NotAllowedError(
            N_("You may not see the footage of case %(number)s: you have no valid access."), number=case.number
        )
    return permission


def film_of(session: Session, case: Case, item_id: int) -> EvidenceItem:
    """A viewing copy or a redacted copy of the case. Raises NotFoundError."""
    item = session.get(EvidenceItem, item_id)
    known = item is not None and item.case_id == case.id and item.discarded_at is None
    if item is None or not known or item.kind not in {"viewing_copy", "redacted_copy"}:
        raise NotFoundError(N_("There is no such footage in this case."))
    return item


@blueprint.get("/<int:case_id>/footage/<int:item_id>")
def media(case_id: int, item_id: int) -> Response:
    """A film for the player, or with ?download=1 as a file where the access is of mode `copy`; both logged.

    The playback check sees the film itself; a recipient gets their own copy of it, with their name burned in.
    """
    session, user = reading(), person()
    case, _instance = visible_case(session, case_id, user)
    item = film_of(session, case, item_id)
    download = request.args.get("download") == "1"
    permission = permission_of(session, case, user)
    if download and not permission.download:
        raise NotAllowedError(
            N_("Your access to case %(number)s is for viewing only: it delivers no file."), number=case.number
        )
    shown, code = item, ""
    if permission.grant_id is not None:
        if item.kind != "viewing_copy":
            raise NotFoundError(N_("There is no such footage in this case."))
        own = copies.own_copy(session, item, permission)
        if own.item is None:
            raise ConflictError(N_("Your own copy of this footage is not ready: ask for it on the footage page."))
        shown, code = own.item, own.code
    path = evidence.locate(session, settings(), shown)
    if request.method == "GET":
        log(case, item, user, permission, "downloaded" if download else "viewed", **({"code": code} if code else {}))
    name = "-".join(part for part in (case.number, item.camera, code) if part) + path.suffix
    response = send_file(path, mimetype=shown.media_type, conditional=True, as_attachment=download, download_name=name)
    response.headers["Cache-Control"] = "private, no-store"  # a copy in the browser's cache would outlive the access
    return response


def log(case: Case, item: EvidenceItem, user: User, permission: Permission, kind: str, **facts: str) -> None:
    """Record the view before its first byte leaves; a player's later ranges of the same film add nothing."""
    at = clock.now()
    pause = SAME_BEGINNING if _begins() else LONGEST_PLAY
    if _logged_since(reading(), case, item, user, kind, at - pause):
        return
    with transaction() as session:
        watched = session.get_one(Case, case.id)
        details = {"mode": permission.mode, "grant": permission.grant_id, **facts}
        origin = request.remote_addr or ""
        access.record(session, watched, kind, user.username, at=at, item=item.path, origin=origin, details=details)


def _begins() -> bool:
    """Whether this request asks for the beginning of the film. Several ranges at once are taken for one that does."""
    wanted = request.range
    return wanted is None or len(wanted.ranges) != 1 or wanted.ranges[0][0] == 0


def _logged_since(session: Session, case: Case, item: EvidenceItem, user: User, kind: str, since: datetime) -> bool:
    query = select(CaseEvent.seq).where(
        CaseEvent.case_id == case.id,
        CaseEvent.kind == kind,
        CaseEvent.actor == user.username,
        CaseEvent.item == item.path,
        CaseEvent.origin == (request.remote_addr or ""),
        CaseEvent.at > since,
    )
    return session.scalar(query.limit(1)) is not None
