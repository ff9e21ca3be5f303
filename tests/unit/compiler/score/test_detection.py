"""Boxes: how they are written, whether they are the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.score.boxes import Boxes, confident, decode, iou, matches
from edgeopt.compiler.score.detection import score_detection
from edgeopt.compiler.score.form import Mismatch
from edgeopt.compiler.score.layout import find_layout
from edgeopt.domain.model import TensorSpec

CORNERS = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.8]])
"""Two boxes, in shares of the picture."""


def picture(*shape: int | str) -> TensorSpec:
    return TensorSpec(name="x", dtype="float32", shape=shape)


def pair(corners: np.ndarray, scores: np.ndarray, places: int = 70) -> list[np.ndarray]:
    """As UltraFace has it: background first; all other places are background."""
    boxes = np.tile(np.array([0.0, 0.0, 0.01, 0.01]), (places, 1))
    share = np.full(places, 0.02)
    boxes[: len(corners)], share[: len(scores)] = corners, scores
    return [np.stack([1 - share, share], axis=1)[None].astype(np.float32), boxes[None].astype(np.float32)]


def boxes(corners: object, scores: object, classes: object) -> Boxes:
    return Boxes(
        corners=np.array(corners, dtype=float).reshape(-1, 4), scores=np.array(scores), classes=np.array(classes)
    )


def test_a_pair_with_background_is_found_and_decoded():
    row = pair(CORNERS, np.array([0.9, 0.8]))
    layout = find_layout([row])
    assert (layout.kind, layout.boxes, layout.scores, layout.background) == ("pair", (1,), (0,), True)
    found = confident(decode(row, layout), 0.5)
    assert np.allclose(found.corners, CORNERS)
    assert found.scores == pytest.approx([0.9, 0.8])


def test_a_lost_box_costs_half_of_its_f1():
    """4 of the teacher's, 3 of the variant's, 3 matched: 6 / 7."""
    whole, one = pair(CORNERS, np.array([0.9, 0.8])), pair(CORNERS[:1], np.array([0.9]))
    found = compare([whole, whole], [whole, one], task="detection", where="host")
    assert found.metric == "box_f1"
    assert found.agreement == pytest.approx(6 / 7)
    assert [sample.index for sample in found.worst_samples] == [1]
    assert found.worst_samples[0].agreement == pytest.approx(2 / 3)
    assert "F1" in found.reasons["agreement_lower"]
    assert "4 boxes" in found.notes[-1]


def test_pictures_without_boxes_in_both_agree():
    whole, none = pair(CORNERS, np.array([0.9, 0.8])), pair(CORNERS[:0], np.array([]))
    found = score_detection([whole, none], [whole, none])
    assert found.each.tolist() == [1.0, 1.0]


def test_a_shy_teacher_is_asked_at_a_lower_score():
    shy = pair(CORNERS[:1], np.array([0.3]))
    assert "0.25" in score_detection([shy], [shy]).notes[0]


def test_a_teacher_that_finds_nothing_says_nothing():
    none = pair(CORNERS[:0], np.array([]))
    found = compare([none], [none], task="detection", where="host")
    assert found.metric == "cosine"
    assert "finds nothing" in found.notes[0]


def test_centres_and_sizes_are_told_from_corners():
    row = pair(np.array([[0.7, 0.6, 0.2, 0.1]]), np.array([0.9]))
    row[1][0, 1:] = [0.5, 0.5, 0.1, 0.1]
    layout = find_layout([row])
    assert layout.centres
    assert np.allclose(decode(row, layout).corners[0], [0.6, 0.55, 0.8, 0.65])


def test_raw_regressions_are_not_guessed():
    """Anchors are known to the training code only: cells of the score map are compared instead."""
    row = pair(np.array([[-0.2, -0.1, -0.7, -0.6]] * 40), np.full(40, 0.9))
    assert find_layout([row]) is None
    found = compare([row], [row], task="detection", where="host")
    assert (found.metric, found.agreement) == ("cell_f1", 1.0)
    assert "cannot be decoded" in found.notes[-1]
    fewer = pair(np.array([[-0.2, -0.1, -0.7, -0.6]] * 40), np.r_[np.full(39, 0.9), 0.1])
    assert compare([row], [fewer], task="detection", where="host").agreement < 1.0


def test_score_maps_that_are_nowhere_confident_leave_the_cosine():
    row = [np.full((1, 5, 3), 0.1, dtype=np.float32)]
    assert score_detection([row], [row]) == "the original is confident of nothing in the held-out samples"


def test_outputs_without_score_maps_leave_the_cosine():
    row = [np.full((1, 5, 3), 7.0, dtype=np.float32)]
    assert "none of them is a map of scores" in score_detection([row], [row])


def listed(corners: np.ndarray, scores: list[float], classes: list[int]) -> list[np.ndarray]:
    """As Faster R-CNN answers: as many rows as boxes."""
    return [corners.astype(np.float32), np.array(classes, dtype=np.int64), np.array(scores, dtype=np.float32)]


def test_listed_boxes_may_be_another_number():
    teacher = listed(CORNERS, [0.9, 0.8], [1, 2])
    student = listed(CORNERS[:1], [0.9], [1])
    found = compare([teacher], [student], task="detection", where="host")
    assert (found.metric, found.agreement) == ("box_f1", pytest.approx(2 / 3))
    assert any("another number of rows" in note for note in found.notes)
    assert found.finite


def test_boxes_of_another_class_do_not_match():
    teacher, student = listed(CORNERS, [0.9, 0.8], [1, 2]), listed(CORNERS, [0.9, 0.8], [1, 3])
    assert compare([teacher], [student], task="detection", where="host").agreement == 0.5


def test_ranks_must_stay_in_a_detector():
    teacher = listed(CORNERS, [0.9, 0.8], [1, 2])
    with pytest.raises(Mismatch, match="shape"):
        compare([teacher], [[teacher[0][None], *teacher[1:]]], task="detection", where="host")


def test_a_count_beside_the_list_does_no_harm():
    row = [*listed(CORNERS, [0.9, 0.8], [1, 2]), np.float32([2.0])]
    assert find_layout([row]).kind == "listed"


def test_lists_without_scores_or_classes_are_no_layout():
    assert find_layout([listed(CORNERS, [9.5, 8.5], [1, 2])]) is None
    assert find_layout([[CORNERS.astype(np.float32), CORNERS.astype(np.float32)]]) is None


def test_rows_of_six_are_corners_score_and_class():
    row = [np.c_[CORNERS, [0.9, 0.8], [3, 4]][None].astype(np.float32)]
    layout = find_layout([row])
    assert layout.kind == "rows"
    assert decode(row, layout).classes.tolist() == [3, 4]
    assert find_layout([[row[0] * 10.0]]) is None


def test_yunets_heads_are_offsets_on_grids():
    """A cell of an 8 x 8 grid, second row, third column: centre (2.5, 1.5) / 8, size exp(0) / 8."""
    cls, obj, box = np.zeros((1, 64, 1)), np.zeros((1, 64, 1)), np.zeros((1, 64, 4))
    cls[0, 10], obj[0, 10], box[0, 10] = 0.81, 1.0, [0.5, 0.5, 0.0, 0.0]
    row = [array.astype(np.float32) for array in (cls, obj, box, np.full((1, 64, 10), 3.0))]
    layout = find_layout([row], [picture(1, 3, 64, 64)])
    assert (layout.kind, layout.objects, layout.grids) == ("levels", (1,), ((8, 8),))
    found = confident(decode(row, layout), 0.5)
    assert found.scores == pytest.approx([0.9])
    assert np.allclose(found.corners, [[2.0 / 8, 1.0 / 8, 3.0 / 8, 2.0 / 8]])


def test_nanodets_heads_are_distances_on_grids():
    """Bins that all but say 1 cell to each side, on a grid of 8 x 16 cells: not a square, so the input tells it."""
    cls, bins = np.zeros((1, 128, 3)), np.full((1, 128, 4, 8), -50.0)
    bins[..., 1] = 50.0
    cls[0, 17, 2] = 0.9
    row = [cls.astype(np.float32), bins.reshape(1, 128, 32).astype(np.float32)]
    assert find_layout([row]) is None
    layout = find_layout([row], [TensorSpec(name="t", dtype="int64", shape=None), picture("n", 64, 128, 3)])
    assert layout.grids == ((8, 16),)
    found = confident(decode(row, layout), 0.5)
    assert np.allclose(found.corners, [[0.5 / 16, 0.5 / 8, 2.5 / 16, 2.5 / 8]])
    assert found.classes.tolist() == [2]


def test_a_grid_that_does_not_follow_from_the_input_is_a_square_or_nothing():
    cls, box = np.full((1, 64, 2), 0.5, np.float32), np.full((1, 64, 8), 2.0, np.float32)
    assert find_layout([[cls, box]], [picture(1, 3, 50, 50)]).grids == ((8, 8),)


def test_heads_of_different_make_are_no_layout():
    """One grid with objectness, one without; two of the same that are both boxes; a grid that nothing fits."""
    cls, box = np.full((1, 64, 2), 0.5, np.float32), np.full((1, 64, 4), 2.0, np.float32)
    big_cls, big_box, obj = np.full((1, 256, 2), 0.5), np.full((1, 256, 4), 2.0), np.full((1, 256, 1), 0.5)
    assert find_layout([[cls, box, *(a.astype(np.float32) for a in (big_cls, big_box, obj))]]) is None
    assert find_layout([[cls, box, box]]) is None
    assert find_layout([[np.full((1, 70, 4), 2.0, np.float32)]], [picture(1, 3)]) is None
    assert find_layout([[cls, np.full((1, 64, 3), 0.5, np.float32), box]]) is None


def yolox(values: dict[tuple[int, int, int], list[float]], *, logits: bool = False) -> list[np.ndarray]:
    maps = [np.zeros((1, 8, side, side), dtype=np.float32) for side in (8, 4, 2)]
    for one in maps:
        one[:, 4:] = -9.0 if logits else 0.0
    for (level, y, x), numbers in values.items():
        maps[level][0, :, y, x] = numbers
    return maps


@pytest.mark.parametrize("logits", [False, True])
def test_yolox_maps_are_offsets_objectness_and_classes(logits):
    """A cell of the 4 x 4 grid, as shares or before the sigmoid."""
    sure = 9.0 if logits else 0.95
    row = yolox({(1, 2, 1): [0.5, 0.5, 0.0, 0.0, sure, 0.0, sure, 0.0]}, logits=logits)
    layout = find_layout([row])
    assert (layout.kind, layout.logits, layout.grids) == ("maps", logits, ((8, 8), (4, 4), (2, 2)))
    found = confident(decode(row, layout), 0.5)
    assert np.allclose(found.corners, [[1 / 4, 2 / 4, 2 / 4, 3 / 4]])
    assert found.classes.tolist() == [1]


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 18, 8, 8), (1, 18, 4, 4)],
        [(1, 4, 8, 8), (1, 4, 4, 4)],
        [(1, 8, 8, 8), (1, 8, 3, 3)],
        [(1, 8, 8, 8), (1, 7, 4, 4)],
        [(1, 8, 8, 8), (1, 8)],
        [(1, 8, 8, 8)],
    ],
)
def test_other_maps_are_left_alone(shapes):
    """Three anchors, no room for classes, grids that do not halve, other channels, a lone map."""
    assert find_layout([[np.full(shape, 2.0, dtype=np.float32) for shape in shapes]]) is None


@pytest.mark.parametrize(("shape", "objects"), [((1, 7, 80), ()), ((1, 80, 8), (0,))])
def test_wide_outputs_have_their_attributes_on_the_short_axis(shape, objects):
    """YOLOv8 has no objectness, YOLOv5 has."""
    values = np.zeros((80, 4 + len(objects) + 3), dtype=np.float32)
    values[5] = [50, 40, 20, 10, *([0.9] * len(objects)), 0.0, 0.9, 0.1]
    row = [(values if objects else values.T)[None]]
    assert row[0].shape == shape
    layout = find_layout([row])
    assert (layout.kind, layout.objects, layout.logits) == ("wide", objects, False)
    found = confident(decode(row, layout), 0.5)
    assert np.allclose(found.corners, [[40, 35, 60, 45]])
    assert found.scores[0] == pytest.approx(0.81 if objects else 0.9)


@pytest.mark.parametrize("shape", [(2, 7, 80), (1, 4, 80), (1, 30, 40), (7, 80)])
def test_other_single_outputs_are_no_layout(shape):
    assert find_layout([[np.full(shape, 2.0, dtype=np.float32)]]) is None


def test_boxes_that_are_not_finite_are_no_boxes():
    row = listed(np.array([[np.nan, 0, 1, 1], CORNERS[1]]), [0.9, 0.8], [1, 2])
    assert len(decode(row, find_layout([listed(CORNERS, [0.9, 0.8], [1, 2])]))) == 1


def test_suppression_keeps_the_best_of_each_heap_by_class():
    near = CORNERS[0] + 0.01
    found = confident(boxes([near, CORNERS[0], CORNERS[0], CORNERS[1]], [0.7, 0.9, 0.6, 0.4], [1, 1, 2, 1]), 0.5)
    assert found.scores.tolist() == [0.9, 0.6]
    assert len(confident(boxes([], [], []), 0.5)) == 0


def test_each_box_is_matched_once():
    two, one = boxes([CORNERS[0], CORNERS[0]], [0.9, 0.8], [1, 1]), boxes([CORNERS[0]], [0.9], [1])
    assert matches(two, one) == matches(one, two) == 1
    assert matches(one, boxes([], [], [])) == 0


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_overlap_is_a_share_the_same_both_ways_and_whole_with_itself(corners):
    array = np.array(corners)
    found = iou(array, array)
    assert ((found >= 0.0) & (found <= 1.0 + 1e-9)).all()
    assert np.allclose(found, found.T)
    area = np.maximum(array[:, 2:] - array[:, :2], 0.0).prod(axis=1)
    assert np.allclose(np.diag(found)[area > 1e-12], 1.0)
