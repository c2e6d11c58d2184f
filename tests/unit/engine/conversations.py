"""Processes that talk with each other, each in a file of its own with ids of its own, as a modeler writes them."""

from typing import Any

from process_files import flows, timer, user

NAMES = (
    'xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core" targetNamespace="http://diaoqu.example"'
)


def diagram(id: str, body: str, *, carries: dict[str, str] | None = None, key: str = "", lives: str = "") -> str:
    """`carries`: message name -> where its payload holds the number of the order; `key` names what it is called."""
    roots, retrievals = '<signal id="alarm_signal" name="alarm"/>', ""
    for name, path in (carries or {}).items():
        inside = f'<spiffworkflow:property name="timeToLive" value="{lives}"/>' if lives else ""
        extensions = (
            f"<extensionElements><spiffworkflow:properties>{inside}</spiffworkflow:properties></extensionElements>"
        )
        roots += f'<message id="{id}_{name}" name="{name}">{extensions if lives else ""}</message>'
        retrievals += (
            f'<correlationPropertyRetrievalExpression messageRef="{id}_{name}"><messagePath>{path}</messagePath>'
            "</correlationPropertyRetrievalExpression>"
        )
    if key:
        roots = (
            f'<collaboration id="{id}_talk"><participant id="{id}_self" processRef="{id}"/>'
            f'<correlationKey id="{id}_key" name="{key}"><correlationPropertyRef>{id}_number</correlationPropertyRef>'
            f'</correlationKey></collaboration>{roots}<correlationProperty id="{id}_number" name="number">{retrievals}'
            "</correlationProperty>"
        )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<definitions id="D_{id}" {NAMES}>{roots}'
        f'<process id="{id}" name="{id}" isExecutable="true">{body}</process></definitions>'
    )


def message(reference: str, *, payload: str = "", variable: str = "") -> str:
    inside = f"<spiffworkflow:messagePayload>{payload}</spiffworkflow:messagePayload>" if payload else ""
    inside += f"<spiffworkflow:messageVariable>{variable}</spiffworkflow:messageVariable>" if variable else ""
    extensions = f"<extensionElements>{inside}</extensionElements>" if inside else ""
    return f'<messageEventDefinition messageRef="{reference}">{extensions}</messageEventDefinition>'


SIGNAL = '<signalEventDefinition signalRef="alarm_signal"/>'


def event(kind: str, id: str, definition: str = "") -> str:
    return f'<{kind} id="{id}">{definition}</{kind}>'


SHOP = diagram(
    "shop",
    event("startEvent", "start")
    + event("intermediateThrowEvent", "order", message("shop_order", payload="{'order': {'number': number}}"))
    + event("intermediateCatchEvent", "confirmed", message("shop_confirmation", variable="confirmation"))
    + user("read", candidateGroup="reviewer")
    + event("endEvent", "end")
    + flows("start", "order", "confirmed", "read", "end"),
    carries={"order": "order.number", "confirmation": "number"},
    key="order",
)
"""Sends an order and waits for the confirmation of this order."""

STORE = diagram(
    "store",
    event("startEvent", "ordered", message("store_order", variable="request"))
    + user("pack", candidateGroup="reviewer")
    + event(
        "endEvent", "confirm", message("store_confirmation", payload="{'number': request.order.number, 'packed': True}")
    )
    + flows("ordered", "pack", "confirm"),
    carries={"order": "order.number", "confirmation": "number"},
    key="order",
)
"""Is started by an order, and confirms it when it ends."""

WAITING = diagram(
    "waiter",
    event("startEvent", "start")
    + event("intermediateCatchEvent", "called", message("waiter_call", variable="call"))
    + event("endEvent", "end")
    + flows("start", "called", "end"),
    carries={"call": "number"},
)
"""Waits for any call: nothing tells two of its instances apart."""

CALLING = diagram(
    "caller",
    event("startEvent", "start")
    + event("endEvent", "call", message("caller_call", payload="{'number': 1}"))
    + flows("start", "call"),
    carries={"call": "number"},
    lives="PT2H",
)

ALARMED = diagram(
    "alarmed",
    event("startEvent", "start")
    + event("startEvent", "woken", SIGNAL)
    + event("intermediateCatchEvent", "heard", SIGNAL)
    + event("endEvent", "end")
    + event("endEvent", "end_woken")
    + flows("start", "heard", "end")
    + flows("woken", "end_woken"),
)
"""Waits for an alarm, and is started by one."""

ALARMING = diagram(
    "alarming",
    event("startEvent", "start") + event("endEvent", "alarm", SIGNAL) + flows("start", "alarm"),
)

SCRAMBLING = diagram(
    "scrambler",
    event("startEvent", "start")
    + event("endEvent", "order", message("scrambler_order", payload="{'order': 'unreadable'}"))
    + flows("start", "order"),
    carries={"order": ""},
)
"""Sends an order in which nobody finds a number."""

TALKING = {
    "scrambler.bpmn": SCRAMBLING,
    "shop.bpmn": SHOP,
    "store.bpmn": STORE,
    "waiter.bpmn": WAITING,
    "caller.bpmn": CALLING,
    "alarmed.bpmn": ALARMED,
    "alarming.bpmn": ALARMING,
}


def timed(kind: str, text: str, *more: str, id: str = "timed") -> dict[str, Any]:
    """A process that a timer starts."""
    body = event("startEvent", "due", timer(kind, text)) + event("endEvent", "end") + "".join(more)
    return {f"{id}.bpmn": diagram(id, body + flows("due", "end"))}
