"""Fragments are put together without changing a byte of any NAL unit; what is not as it must be stays as it came."""

from itertools import pairwise

import pytest
from fault_room import _nals
from hypothesis import given, settings
from hypothesis import strategies as st

from device.fragments import LARGEST, Packets, joined
from device.simulator.packets import packetise

CODECS = st.sampled_from(["H264", "H265"])


def packets(nals: list[bytes], codec: str) -> Packets:
    payloads = [payload for nal in nals for payload in packetise(nal, codec)]
    return [(96, 100 + number, payload) for number, payload in enumerate(payloads)]


def unit(codec: str, kind: int, size: int) -> bytes:
    head = bytes([0x60 | kind]) if codec == "H264" else bytes([kind << 1, 1])
    return head + bytes([kind * 7 + 1]) * size


@settings(deadline=None, max_examples=40)
@given(
    CODECS, st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1, 1387, 1388, 5000, 61_000, 200_000])), max_size=6)
)
def test_the_nal_units_stay_the_same_in_fewer_and_bounded_packets(codec: str, sizes: list[tuple[int, int]]) -> None:
    nals = [unit(codec, kind, size) for kind, size in sizes]
    found = joined(packets(nals, codec), codec)
    assert _nals([payload for _, _, payload in found], codec) == nals
    assert all(len(payload) <= LARGEST + 3 for _, _, payload in found)
    assert len(found) <= sum(1 + len(nal) // (LARGEST - 1388) for nal in nals)
    assert all(a < b for (_, a, _), (_, b, _) in pairwise(found)), "in their order"


@pytest.mark.parametrize("codec", ["H264", "H265"])
@pytest.mark.parametrize("missing", [0, 3])
def test_fragments_without_their_beginning_or_their_end_are_passed_on_as_they_are(codec: str, missing: int) -> None:
    came = packets([unit(codec, 5, 5000)], codec)
    assert len(came) == 4
    came.pop(missing)
    assert joined(came, codec) == came


@settings(deadline=None)
@given(CODECS, st.lists(st.binary(min_size=1, max_size=12), max_size=12))
def test_no_payloads_break_it_or_grow(codec: str, payloads: list[bytes]) -> None:
    came = [(96, number, payload) for number, payload in enumerate(payloads)]
    assert sum(len(payload) for _, _, payload in joined(came, codec)) <= sum(map(len, payloads))


def test_other_codecs_are_left_alone() -> None:
    came = [(26, 1, bytes([28, 0x80, 1])), (26, 2, bytes([28, 0x40, 1]))]
    assert joined(came, "JPEG") is came
