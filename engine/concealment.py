"""Personal data and operators: opened for a job that asks for it, kept out of everything that the job leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine import personal
from engine.db import Database
from engine.errors import BpmnError, DiaoquError, Sentence, sentence_of
from engine.jobs import ClaimedJob
from engine.operators import Operator


class ConcealedError(DiaoquError):
    """An operator failed; the message says how, without the personal data that it was given."""

    def __init__(self, told: Sentence, *, permanent: bool) -> None:
        self.permanent = permanent
        super().__init__(told.template, **told.params)


@dataclass(frozen=True)
class Concealment:
    """What a job was shown: plain text → envelope. Nothing of it goes into progress, errors or answers."""

    shown: Mapping[str, str]

    def value(self, value: Any) -> Any:
        """A JSON value with every shown text in its envelope again, also where it is part of a longer text."""
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return self.shown.get(value) or self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """`text` with a mark where personal data stood."""
        for plain in sorted(self.shown, key=len, reverse=True):
            text = text.replace(plain, "[…]")
        return text

    def sentence(self, sentence: Sentence) -> Sentence:
        """The same, with a mark in each part that holds personal data."""
        params = {
            name: self.sentence(value) if isinstance(value, Sentence) else self.text(str(value))
            for name, value in sentence.params.items()
        }
        return Sentence(sentence.template, params)

    def error(self, error: Exception) -> Exception:
        """An error that says the same without personal data, and that has no trace to it."""
        if not self.shown:
            return error
        if isinstance(error, BpmnError):
            return BpmnError(error.code, self.text(error.message))
        told = sentence_of(error)
        hidden = self.sentence(told)
        if str(hidden) != self.text(str(told)):  # personal data stands across its parts
            hidden = Sentence(self.text(str(told)))
        return ConcealedError(hidden, permanent=bool(getattr(error, "permanent", False)))


def shown_to(database: Database, found: Operator, job: ClaimedJob) -> tuple[dict[str, Any], Concealment]:
    """The parameters of a job as its operator gets them: opened when it asks for personal data, else as they are.

    Raises:
        ErasedError, PersonalDataError: they cannot be opened.
    """
    if not found.personal:
        return job.params, Concealment({})
    with database.reading() as session:
        params = personal.opened(session, job.instance_id, job.params)
        pairs = [(personal.opened(session, job.instance_id, one), one) for one in personal.envelopes(job.params)]
    return params, Concealment({str(plain): envelope for plain, envelope in pairs if str(plain)})
