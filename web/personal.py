"""Personal data on pages: opened for those who may see the case, its numbers masked until somebody asks for them."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from engine import personal
from web.errors import message_of


def shown(session: Session, key_id: UUID, data: Any) -> Any:
    """`data` with its personal values opened, to be shown by forms_html; what cannot be opened says why."""
    return personal.opened(session, key_id, data, instead=message_of)
