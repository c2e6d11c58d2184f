"""Errors that reach a person.

Every error carries an English message template and its parameters. The template is the message id of the translation
catalogues, so the web layer can say the same in the reader's language: `gettext(error.template) % error.params`.
`web/errors.py` maps the classes to HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
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
        return self.said(str)

    def said(self, translate: Callable[[str], str]) -> str:
        """The text in the language of `translate`, which gives a template's translation."""
        text = translate(self.template) if self.template else ""
        params = {
            name: value.said(translate) if isinstance(value, Sentence) else value for name, value in self.params.items()
        }
        return text % params if params else text

    def stored(self) -> dict[str, Any]:
        """As JSON, everything but sentences as text, without what databases do not take."""
        params = {
            name: value.stored() if isinstance(value, Sentence) else _storable(str(value))
            for name, value in self.params.items()
        }
        return {"template": _storable(self.template), "params": params}

    @classmethod
    def restored(cls, value: Any) -> "Sentence":
        """The sentence that was stored. Raises TypeError or KeyError: `value` is none."""
        params = {
            name: cls.restored(one) if isinstance(one, dict) and one.keys() == {"template", "params"} else one
            for name, one in dict(value["params"]).items()
        }
        return cls(value["template"], params)

    def __bool__(self) -> bool:
        return bool(self.template)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sentence) and str(self) == str(other)

    def __lt__(self, other: "Sentence") -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\x00", "")


class DiaoquError(Exception):
    """Something went wrong that a person can act on.

    `template` is English with `%(name)s` placeholders; it says what happened and what to do.
    """

    def __init__(self, template: str, **params: Any) -> None:
        self.template = template
        self.params = params
        super().__init__(str(self.sentence))

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

    def __init__(self, code: str, message: str | Sentence = "") -> None:
        self.code = code
        self.message = str(message)
        self.sentence = Sentence("%(code)s: %(message)s", {"code": code, "message": message})
        if not self.message:
            self.sentence = Sentence(code)
        super().__init__(str(self.sentence))


class JobCancelledError(Exception):
    """The job's lease was lost or its task was cancelled: stop at once and leave nothing published."""


def sentence_of(error: BaseException) -> Sentence:
    """What an error says to people. The recorder tools, which know no engine, give theirs template and params too."""
    if isinstance(error, InvalidFormError):
        fields = [Sentence("%(field)s: %(told)s", {"field": key, "told": why}) for key, why in error.fields.items()]
        template = "; ".join(f"%(field{place})s" for place in range(len(fields)))
        return Sentence(template, {f"field{place}": field for place, field in enumerate(fields)})
    if isinstance(error, BpmnError):
        return error.sentence
    if (written := getattr(error, "template", None)) is not None:
        return Sentence(written, getattr(error, "params", {}))
    return Sentence("%(kind)s: %(message)s", {"kind": type(error).__name__, "message": str(error)})
