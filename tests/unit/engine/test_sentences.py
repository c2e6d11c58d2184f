"""Sentences are stored as template and parameters, and are said in anybody's language later."""

from hypothesis import given
from hypothesis import strategies as st

from engine.columns import LONGEST_TOLD, Told
from engine.concealment import ConcealedError, Concealment
from engine.errors import BpmnError, ConflictError, FieldError, InvalidFormError, Sentence, sentence_of

NOBODY_WAITS = ConflictError("%(name)s: %(why)s", name="call", why=Sentence("Nobody waits for %(what)s.", {"what": 7}))


def column(sentence: Sentence) -> Sentence:
    """What the database gives back."""
    kept = Told().process_bind_param(sentence, None)  # type: ignore[arg-type]  # the dialect does not matter
    found = Told().process_result_value(kept, None)  # type: ignore[arg-type]
    assert found is not None
    return found


def in_upper_case(text: str) -> str:
    return {"%(name)s: %(why)s": "%(name)s -> %(why)s", "Nobody waits for %(what)s.": "NOBODY: %(what)s"}.get(
        text, text
    )


def test_a_sentence_inside_a_sentence_is_translated_too() -> None:
    assert str(NOBODY_WAITS) == "call: Nobody waits for 7."
    assert column(sentence_of(NOBODY_WAITS)).said(in_upper_case) == "call -> NOBODY: 7"


@given(st.text(), st.text())
def test_any_text_is_kept_but_for_what_no_database_takes(one: str, two: str) -> None:
    told = Sentence("%(one)s %(inner)s", {"one": one, "inner": Sentence("(%(two)s)", {"two": two})})
    kept = str(column(told))
    assert kept == str(told).encode(errors="replace").decode().replace("\x00", "")[:LONGEST_TOLD]


def test_what_is_too_long_is_cut() -> None:
    assert str(column(Sentence("%(text)s", {"text": "x" * 9000}))) == "x" * LONGEST_TOLD


def test_text_of_an_earlier_release_is_said_as_it_stands() -> None:
    for text in ("cable pulled", "100 %", '{"a": 1}', "[]", "7", "null", '"x"'):
        assert Told().process_result_value(text, None) == Sentence(text)  # type: ignore[arg-type]
    assert not column(Sentence(""))


def test_every_error_has_its_sentence() -> None:
    fields = InvalidFormError({"a": FieldError("At most %(limit)s.", {"limit": 3}), "b%": FieldError("No.", {})})
    assert str(sentence_of(fields)) == "a: At most 3.; b%: No."
    assert str(sentence_of(OSError("cable pulled"))) == "OSError: cable pulled"
    assert str(sentence_of(BpmnError("LOST", NOBODY_WAITS.sentence))) == f"LOST: {NOBODY_WAITS}"
    assert sentence_of(BpmnError("LOST", NOBODY_WAITS.sentence)).said(in_upper_case) == "LOST: call -> NOBODY: 7"
    assert str(sentence_of(BpmnError("LOST"))) == "LOST"


def test_personal_data_is_marked_in_every_part_of_a_sentence_also_across_parts() -> None:
    concealment = Concealment({"138 0000": "envelope"})
    inside = ConflictError("%(a)s: %(b)s", a="call 138 0000", b=Sentence("no %(c)s", {"c": "138 0000"}))
    hidden = concealment.error(inside)
    assert isinstance(hidden, ConcealedError)
    assert (str(hidden), hidden.template) == ("call […]: no […]", "%(a)s: %(b)s")
    across = concealment.error(ConflictError("%(a)s %(b)s", a="138", b="0000"))
    assert (str(across), "138" in str(sentence_of(across).stored())) == ("[…]", False)
