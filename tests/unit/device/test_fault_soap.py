"""SOAP and times from a hostile recorder: only our own errors, in bounded time."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from device.recorders.base import DeviceError
from device.recorders.soap import _body, simple_items, text
from device.recorders.times import parse_time, shown_time

PIECES = st.sampled_from(
    ["<a>", "</a>", "<s:Body xmlns:s='x'>", "</s:Body>", "<Fault>", "<UTCDateTime>", "<Date><Year>9e9</Year></Date>",
     "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "<Envelope>", "</Envelope>", "<?x?>", "<!-- -->", "\x00", "24:00:00"]
)  # fmt: skip


@settings(max_examples=300, deadline=1000)
@given(st.lists(PIECES | st.text(max_size=9), max_size=30).map("".join) | st.binary(max_size=300))
def test_no_answer_breaks_the_reading_of_soap(content: str | bytes) -> None:
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    for whole in (data, b"<E><Body><R>" + data + b"</R></Body></E>"):
        try:
            found = _body(SimpleNamespace(status_code=200, content=whole), "Anything")
            text(found, "Source/Name")
            simple_items(found)
            shown_time(found)
        except DeviceError:
            continue


@settings(deadline=1000)
@given(st.from_regex(r"\d{1,6}-\d\d?-\d\d?[T ]\d\d?:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?") | st.text(max_size=80))
def test_no_time_breaks_the_reading_of_times(written: str) -> None:
    at = parse_time(written)
    assert at is None or at.utcoffset() is not None
