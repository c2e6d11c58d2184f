"""Telling people (clause 4.1): an in-app notice with a link to their request."""

from typing import Any

from sqlalchemy import select

from device import cases
from engine import identity, notifications
from engine.models import User
from engine.operators import StepContext, operator

GROUP = "group:"


@operator("notice/send", zh="发送通知", en="Send a notice", synchronous=True, refuses_first=True)
def send(context: StepContext, *, to: list[str], template: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Leave a notice for people, named by username or as `group:reviewer`.

    `template`, with %(name)s placeholders, is in the language of the diagram; its translations are deployed with it.
    Names that the directory does not know are passed over; whoever is a deputy at that time is told too.
    """
    session = context.session
    case = cases.owned(session, context.instance_id)
    names = [str(name) for name in to if name]
    people = {name for name in names if not name.startswith(GROUP)}
    people = set(session.scalars(select(User.username).where(User.username.in_(people)))) if people else set()
    for name in names:
        if name.startswith(GROUP):
            people.update(identity.members(session, name.removeprefix(GROUP)))
    for deputies in identity.deputies(session, people, context.at).values():
        people.update(deputies)
    sent = notifications.notify(
        session,
        people,
        template,
        params or {},
        link=f"/cases/{case.id}" if case is not None else "/requests",
        instance_id=context.instance_id,
        at=context.at,
    )
    return {"sent": sent}
