"""Errors that reach a person.

Every error carries an English message template and its parameters. The template is the message id of the translation
catalogues, so the web layer can say the same in the reader's language: `gettext(error.template) % error.params`.
`web/errors.py` maps the classes to HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


def N_(text: str) -> str:
    """Mark a text for the translation catalogues without translating it here."""
    return text


@dataclass(frozen=True)
class Sentence:
    """A text for a person: an English template with `%(name)s` placeholders, and what to put there.

    A parameter may be a sentence itself. Two sentences are the same when they say the same in English.
    """

    template: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template % self.params if self.params else self.template

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sentence) and str(self) == str(other)

    def __lt__(self, other: "Sentence") -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class DiaoquError(Exception):
    """Something went wrong that a person can act on.

    `template` is English with `%(name)s` placeholders; it says what happened and what to do.
    """

    def __init__(self, template: str, **params: Any) -> None:
        self.template = template
        self.params = params
        super().__init__(template % params if params else template)

    @property
    def sentence(self) -> Sentence:
        return Sentence(self.template, self.params)


class EngineError(DiaoquError):
    """The engine refused; nothing was changed."""


class NotFoundError(EngineError):
    """There is no such thing, or the asker may not know that there is."""


class NotAllowedError(EngineError):
    """The person lacks the role, the qualification or the independence that this needs (clauses N1, conduct)."""


class ConflictError(EngineError):
    """Somebody or something else was faster, or the state does not allow it (any more)."""


class OversizedError(EngineError):
    """The input is larger than the engine accepts."""


class PostponedError(EngineError):
    """An operator cannot go on before `until`; its job becomes due then, and no attempt is counted."""

    def __init__(self, template: str, *, until: datetime, **params: Any) -> None:
        self.until = until
        super().__init__(template, **params)


class NoRoomError(EngineError):
    """The disk of the database is full; nothing was stored."""

    def __init__(self) -> None:
        super().__init__(
            N_("There is no room left on the disk of this service. Nothing was stored; tell an administrator.")
        )


class InvalidFormError(EngineError):
    """The data does not satisfy the form: `fields` maps a field's key to its error."""

    def __init__(self, fields: Mapping[str, "FieldError"]) -> None:
        self.fields = dict(fields)
        super().__init__(N_("Please correct the marked fields: %(fields)s."), fields=", ".join(fields))


class FieldError(Sentence):
    """Why one field was refused."""


@dataclass(frozen=True, order=True)
class Problem:
    """One finding about a file that somebody wants to deploy. `severity` is "error" or "warning".

    As text it is English, for the command line and logs; people read `sentence` in their language.
    """

    file: str
    line: int
    element: str
    rule: str
    sentence: Sentence
    severity: str = "error"

    @property
    def message(self) -> str:
        return str(self.sentence)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.element}: {self.rule}: {self.message}"


class DefinitionError(EngineError):
    """A diagram, decision table or form was refused at deployment; `problems` lists everything found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(N_("%(count)s problem(s) in the diagram or its files."), count=len(self.problems))


class ExpressionError(EngineError):
    """A script, condition or parameter is not in the language of docs/expressions.md, or failed when it ran."""


class BpmnError(Exception):
    """A modelled failure: goes to the boundary error event with this code, or becomes an incident (DESIGN, Flow)."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}" if message else code)


class JobCancelledError(Exception):
    """The job's lease was lost or its task was cancelled: stop at once and leave nothing published."""
