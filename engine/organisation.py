"""Who stands around a person: their unit, the heads above it, the members of groups, who is whose deputy (clause 1.2).

Everything that a process asks about one person comes from one statement, because it is asked inside a step.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Integer, String, cast, literal, null, select, union_all
from sqlalchemy.orm import Session

from engine.errors import N_, NotFoundError
from engine.models import Department, Deputy, Membership, User


class Unit(NamedTuple):
    """An organisational unit. `parent` is the key in `Surroundings.units` of the unit above it."""

    name: str
    head: str | None
    parent: int | None


@dataclass(frozen=True)
class Surroundings:
    """What was found around `username`.

    `colleagues` are the active people of the same unit, the person among them; `members` the active people of each
    group asked for, sorted; `deputies` who acts for whom, the one named last; `heads` the active heads of units.
    """

    username: str
    unit: int | None
    units: Mapping[int, Unit]
    heads: frozenset[str]
    colleagues: list[str]
    members: Mapping[str, list[str]]
    deputies: Mapping[str, str]

    @property
    def unit_name(self) -> str:
        return "" if self.unit is None else self.units[self.unit].name

    @property
    def topmost(self) -> list[str]:
        """The heads of the units above which there is none, active or not."""
        return [unit.head for unit in self.units.values() if unit.parent is None and unit.head]

    def head(self) -> str:
        """In whose name the person's unit signs (clause 1.2): its head's; nobody signs for themselves.

        When the person is the head, the head of the parent unit signs, and so on upwards. A head who has named a deputy
        stays the one whose signature it is: the deputy acts by `identity.authority`, within the dates and no longer.
        Only when the deputy is the person is the head passed over, because nobody else is there to sign.

        Raises:
            NotFoundError: no unit above the person has a head who could sign.
        """
        place, seen = self.unit, set[int]()
        while place is not None and place not in seen:
            seen.add(place)
            head = self.units[place].head
            if head in self.heads and head != self.username and self.deputies.get(head) != self.username:
                return head
            place = self.units[place].parent
        raise NotFoundError(
            N_("Nobody can sign for the department of %(username)s: name a head."), username=self.username
        )


def around(session: Session, username: str, *, at: datetime, groups: Iterable[str] = ()) -> Surroundings:
    """Look around `username` at `at`. Raises NotFoundError when there is no such person."""
    heads = select(Department.head_username)
    same_unit = User.department_id == select(User.department_id).where(User.username == username).scalar_subquery()
    nothing, no_number = cast(null(), String), cast(null(), Integer)
    acting = (Deputy.from_at <= at, Deputy.until_at > at)
    wanted = sorted(set(groups))
    principals = select(User.username).join(Membership).where(Membership.group.in_(wanted))
    found: Iterable[Any] = session.execute(
        union_all(
            select(literal("person"), User.username, nothing, User.department_id, no_number).where(
                User.username == username
            ),
            select(literal("unit"), Department.name, Department.head_username, Department.id, Department.parent_id),
            select(literal("head"), User.username, nothing, no_number, no_number).where(
                User.username.in_(heads), User.active
            ),
            select(literal("colleague"), User.username, nothing, no_number, no_number).where(same_unit, User.active),
            select(literal("member"), User.username, Membership.group, no_number, no_number)
            .join(Membership)
            .where(Membership.group.in_(wanted), User.active),
            select(literal("deputy"), Deputy.username, Deputy.deputy, Deputy.id, no_number).where(
                *acting, Deputy.username.in_(heads) | Deputy.username.in_(principals)
            ),
        )
    )
    rows: dict[str, list[tuple[str, str, int, int | None]]] = {}
    for kind, *values in found:
        rows.setdefault(kind, []).append(tuple(values))
    if "person" not in rows:
        raise NotFoundError(N_("There is no user %(username)s."), username=username)
    units = sorted(rows.get("unit", []), key=lambda row: row[2])
    return Surroundings(
        username=username,
        unit=rows["person"][0][2],
        units={number: Unit(name, head, parent) for name, head, number, parent in units},
        heads=frozenset(row[0] for row in rows.get("head", [])),
        colleagues=sorted({username, *(row[0] for row in rows.get("colleague", []))}),
        members={group: sorted(row[0] for row in rows.get("member", []) if row[1] == group) for group in wanted},
        deputies={row[0]: row[1] for row in sorted(rows.get("deputy", []), key=lambda row: row[2])},
    )
