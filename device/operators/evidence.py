"""Two verified copies on two stores, and clearing away what is not needed any more (clauses 3.3, N3)."""

from typing import Any

from device import evidence, unfinished
from device.models import EvidenceItem
from device.operators.running import DISK_FULL, STORE_FAILED, bytes_done, case_of, modelled
from device.storage import open_stores
from engine.errors import NotFoundError
from engine.operators import JobContext, operator


@operator("evidence/back_up", zh="备份录像", en="Back up the footage", errors=(STORE_FAILED, DISK_FULL))
def back_up(context: JobContext) -> dict[str, Any]:
    """Put each master, native file, viewing copy and report on both stores and read it back from there.

    Segments that never became a master, such as those of a camera that was skipped, are cleared away.
    """
    case = case_of(context)
    unfinished.clear(context.database, context.settings, context.instance_id)
    with context.database.reading() as session:
        items = accepted(context, evidence.items_of(session, case, "master", "native", "viewing_copy", "report"))
    copies = []
    with modelled(context):
        stores = open_stores(context.settings)
        watch = bytes_done(context, sum(item.size for item in items) * len(stores))
        for item in items:
            for store in stores:
                copy = evidence.back_up(context.database, context.settings, item.id, store, watch)
                if item.kind not in ("report", "native"):  # of a folder there may be thousands
                    copies.append(
                        {
                            "item": item.id,
                            "kind": item.kind,
                            "store": store.name,
                            "key": copy.key,
                            "sha256": copy.digest,
                            "verified_at": copy.verified_at.isoformat(),
                        }
                    )
    return {"copies": copies}


@operator(
    "evidence/discard_working_copies",
    zh="清理工作副本",
    en="Discard working copies",
    errors=(STORE_FAILED, DISK_FULL),
)
def discard_working_copies(context: JobContext, *, reason: str) -> dict[str, Any]:
    """Delete the working copies of the case and record it; copies on the stores stay until their disposal.

    A request that was withdrawn before it got a number has none. Segments that never became a master go as well.
    """
    unfinished.clear(context.database, context.settings, context.instance_id)
    try:
        case = case_of(context)
    except NotFoundError:
        return {"discarded": []}
    with modelled(context):
        return {"discarded": evidence.discard(context.database, context.settings, case.id, reason)}


def accepted(context: JobContext, items: list[EvidenceItem]) -> list[EvidenceItem]:
    """Without the footage of attempts that failed the playback check; everything when there was no check."""
    found = context.data.get("acquisitions") or []
    kept = {one.get("item") for one in found if isinstance(one, dict)} - {None}
    if not kept:
        return items
    for item in sorted(items, key=lambda item: item.id):  # what is made from others comes after them
        if item.master_id in kept:
            kept.add(item.id)
    return [item for item in items if item.id in kept]
