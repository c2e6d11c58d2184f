"""Regions: boxes that move, faces that are missed for a moment and stay hidden, documents that may be anything."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.regions import SCHEMA, Box, Region, RegionError, from_json, to_json, tracked

WALK = Region("walk", 1.0, 5.0, ((2.0, Box(0, 0, 10, 10)), (4.0, Box(20, 40, 30, 10))))


def test_a_box_moves_along_the_straight_line_and_stands_still_before_and_after() -> None:
    assert WALK.box(3.0) == Box(10, 20, 20, 10)
    assert WALK.box(1.0) == Box(0, 0, 10, 10)
    assert WALK.box(5.0) == Box(20, 40, 30, 10)
    assert [WALK.hides(at) for at in (0.9, 1.0, 5.0, 5.1)] == [False, True, True, False]


def test_a_face_that_is_missed_for_a_moment_stays_hidden() -> None:
    boxes = {0.0: 0, 0.2: 4, 1.4: 28, 1.6: 32}
    seen = [(at / 10, [(Box(boxes[at / 10], 0, 40, 40), 0.9)] if at / 10 in boxes else []) for at in range(0, 17, 2)]
    (face,) = tracked(seen, grow=0.0, margin=0.5)
    assert (face.start, face.end) == (0.0, pytest.approx(2.1))
    between = face.box(0.8)
    assert between.x <= 16 <= 56 <= between.x + between.width, "in between it covers where the face would have been"


def test_two_people_are_two_regions_and_one_who_comes_back_much_later_is_a_third() -> None:
    left, right = Box(0, 0, 20, 20), Box(200, 0, 20, 20)
    found = tracked([(0.0, [(left, 0.5), (right, 0.8)]), (0.2, [(right, 0.7), (left, 0.9)]), (9.0, [(left, 0.6)])])
    assert [(region.start, region.end) for region in found] == [(0.0, 0.7), (0.0, 0.7), (8.5, 9.5)]
    assert {region.score for region in found} == {0.9, 0.8, 0.6}
    assert len({region.id for region in found}) == 3


boxes = st.builds(Box, *[st.floats(0, 500)] * 2, *[st.floats(1, 200)] * 2)


@settings(max_examples=60)
@given(st.lists(st.lists(st.tuples(boxes, st.floats(0.3, 1)), max_size=4), max_size=20))
def test_every_detection_is_hidden_at_its_own_time(detections: list[list[tuple[Box, float]]]) -> None:
    seen = [(number / 6, found) for number, found in enumerate(detections)]
    regions = tracked(seen)
    for at, found in seen:
        for box, _score in found:
            hidden = [region.box(at) for region in regions if region.hides(at)]
            assert any(
                each.x <= box.x and each.y <= box.y
                and each.x + each.width >= box.x + box.width and each.y + each.height >= box.y + box.height
                for each in hidden
            )  # fmt: skip


def test_a_document_comes_back_as_it_was() -> None:
    corners = Region("door", 0.0, 3.0, polygon=((0.0, 0.0), (10.0, 0.0), (5.0, 8.0)), on=False)
    face = Region("face-1", 0.5, 2.0, ((1.0, Box(1, 2, 3, 4)),), source="detector", score=0.875)
    assert from_json(to_json([WALK, corners, face], width=320, height=240)) == [WALK, corners, face]


GOOD = to_json([WALK], width=320, height=240)["regions"][0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": 5, "to": 1},
        {"from": -1},
        {"from": "1"},
        {"to": float("nan")},
        {"to": 1e12},
        {"id": ""},
        {"id": 7},
        {"on": "yes"},
        {"source": "robot"},
        {"keyframes": []},
        {"keyframes": [[1, 2, 3]]},
        {"keyframes": [[1, 2, 3, 4, 0]]},
        {"keyframes": [[True, 2, 3, 4, 5]]},
        {"polygon": [[1, 2], [3, 4]]},
        {"score": "high"},
    ],
)
def test_a_region_that_cannot_be_is_refused_by_its_number(wrong: dict[str, Any]) -> None:
    document = {"schema": SCHEMA, "regions": [GOOD, {**GOOD, "id": "second", **wrong}]}
    with pytest.raises(RegionError, match="region 2"):
        from_json(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "from", "to", "keyframes", "polygon", "regions", "on"]), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.fixed_dictionaries({"schema": st.just(SCHEMA), "regions": json_values | st.lists(json_values)}))
def test_any_other_document_is_refused_and_never_crashes(document: Any) -> None:
    try:
        from_json(document)
    except RegionError:
        return
    assert document["regions"] == []


def test_two_regions_of_the_same_name_are_refused() -> None:
    with pytest.raises(RegionError, match="same id"):
        from_json({"schema": SCHEMA, "regions": [GOOD, GOOD]})
