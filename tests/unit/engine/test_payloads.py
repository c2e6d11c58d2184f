"""Whatever enters a history must come back exactly as it went in."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import payloads
from engine.errors import InvalidFormError, OversizedError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_comes_back_unchanged(value):
    if "typename" in repr(value):
        return
    assert orjson.loads(payloads.encode(value)) == value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": float("nan")}, "data.a"),
        ({"a": [1, float("inf")]}, "data.a[1]"),
        ({"a": "\ud800"}, "data.a"),
        ({"a": "x\x00"}, "data.a"),
        ({"a": {"typename": "x"}}, "data.a"),
        ({"a": {1: "x"}}, "data.a"),
        ({"a": 2**53 + 1}, "data.a"),
        ({"a": {"b": b"bytes"}}, "data.a.b"),
        ({"a": {1, 2}}, "data.a"),
        ({"a": (1, 2)}, "data.a"),
    ],
)
def test_what_would_not_survive_is_refused_by_its_path(value, path):
    with pytest.raises(InvalidFormError) as refused:
        payloads.encode(value)
    assert list(refused.value.fields) == [path]
    assert str(refused.value.fields[path])


def test_deep_nesting_is_refused():
    value = None
    for _ in range(payloads.DEPTH + 2):
        value = [value]
    with pytest.raises(InvalidFormError):
        payloads.encode(value)


def test_large_data_is_refused():
    with pytest.raises(OversizedError):
        payloads.encode({"a": "x" * payloads.SIZE})


def test_an_unstorable_key_can_still_be_named():
    with pytest.raises(InvalidFormError) as refused:
        payloads.encode({"\ud800": 1})
    str(refused.value).encode()
    for path, error in refused.value.fields.items():
        path.encode()
        str(error).encode()
