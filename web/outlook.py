"""What happens after each answer, read from the deployed diagram: so the page can never promise another procedure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.spiff import CompiledDefinition, ElementInfo

SILENT = ("scriptTask", "businessRuleTask")
"""Steps that nobody sees; the outlook looks past them."""
WAITING = ("Task", "subProcess", "callActivity", "endEvent", "intermediateCatchEvent")


@dataclass(frozen=True)
class Next:
    name: str
    lane: str


@dataclass(frozen=True)
class Outlook:
    """`answer` is the label on the flow, empty when there is only one way on; `reached` are the steps it leads to."""

    answer: str
    reached: tuple[Next, ...]


def after(
    definition: CompiledDefinition, element: str, names: Mapping[str, str], order: Sequence[str] = ()
) -> list[Outlook]:
    """The ways on from a task: one per labelled branch of the gateways behind it. `names` translates labels.

    `order` are the answers of the form: branches that bear their names come first, in that order.
    """
    found: list[Outlook] = []
    _follow(definition.elements, element, "", names, found, frozenset())
    return sorted(found, key=lambda way: order.index(way.answer) if way.answer in order else len(order))


def when_late(definition: CompiledDefinition, element: str, names: Mapping[str, str]) -> list[Outlook]:
    """What the events on the border of a task lead to: for a user task, the timers of a gate that waits too long."""
    found: list[Outlook] = []
    for info in definition.elements.values():
        if info.attached_to == element:
            branch: list[Outlook] = []
            _follow(definition.elements, info.id, names.get(info.name, info.name), names, branch, frozenset())
            found += branch
    return found


def _follow(
    elements: Mapping[str, ElementInfo],
    at: str,
    answer: str,
    names: Mapping[str, str],
    found: list[Outlook],
    seen: frozenset[str],
) -> None:
    flows = [info for info in elements.values() if info.type == "sequenceFlow" and info.source == at]
    for flow in flows:
        target = elements.get(flow.target)
        if target is None or flow.target in seen:
            continue
        label = names.get(flow.name, flow.name)
        said = " · ".join(part for part in (answer, label) if part) if len(flows) > 1 else answer or label
        if target.type in SILENT or not target.type.endswith(WAITING):
            _follow(elements, target.id, said, names, found, seen | {flow.target})
        else:
            _add(found, said, Next(_name(target, names), names.get(target.lane, target.lane)))


def _name(info: ElementInfo, names: Mapping[str, str]) -> str:
    return names.get(info.name, info.name) or info.id


def _add(found: list[Outlook], answer: str, step: Next) -> None:
    for index, outlook in enumerate(found):
        if outlook.answer == answer:
            if step not in outlook.reached:
                found[index] = Outlook(answer, (*outlook.reached, step))
            return
    found.append(Outlook(answer, (step,)))
