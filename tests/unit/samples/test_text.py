"""Texts as samples: which lines, how many tokens, what padding is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.domain.text import TextSettings
from edgeopt.errors import SamplesError
from edgeopt.samples.text import is_text, load_texts, read_texts, without_padding
from tests.builders import make_model

PLAIN = TextSettings()


def model(length: int | str = "sequence", names: tuple[str, ...] = ("input_ids", "attention_mask")) -> ModelInfo:
    return make_model(inputs=tuple(TensorSpec(name=name, dtype="int64", shape=("batch", length)) for name in names))


def split_words(texts: Any, most: int | None) -> tuple[list[dict[str, Any]], int]:
    """A tokenizer: the lengths of the words."""
    most = most or 512
    made = []
    for text in texts:
        numbers = [len(word) for part in text for word in part.split()]
        kept = np.array(numbers[:most], np.int64)
        made.append({"tokens": kept, "types": kept * 0, "cut": np.array([len(numbers) > most]), "pad": np.array([99])})
    return made, most


def load(path: Path, to: ModelInfo, settings: TextSettings = PLAIN) -> Any:
    return load_texts(
        path, settings=settings, model=to, shapes={}, limit=10, seed=0, source="texts", tokenize=split_words
    )


def test_one_text_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffone two\n\n  three \none two\n", encoding="utf-8")
    texts, items = read_texts(tmp_path / "a.txt", PLAIN, 10, 0)
    assert texts == [("one two",), ("three",)]
    assert items == ["a.txt, line 1", "a.txt, line 3"]


def test_a_field_of_json_lines_and_pairs(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"s": "x", "t": "y"}\n')
    assert read_texts(tmp_path, TextSettings(field="t"), 10, 0)[0] == [("y",)]
    assert read_texts(tmp_path, TextSettings(field=("s", "t")), 10, 0)[0] == [("x", "y")]


@pytest.mark.parametrize(
    ("line", "words"), [('{"s": 1}', "no text under text"), ("{", "not JSON"), ("[1]", "no object")]
)
def test_what_is_wrong_with_a_line(tmp_path, line, words):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(SamplesError, match=f"line 1.*{words}"):
        read_texts(tmp_path / "a.jsonl", PLAIN, 10, 0)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.txt").write_text("\n \n")
    with pytest.raises(SamplesError, match="UTF-8"):
        read_texts(tmp_path / "a.txt", PLAIN, 10, 0)
    with pytest.raises(SamplesError, match="no texts"):
        read_texts(tmp_path / "b.txt", PLAIN, 10, 0)


def test_a_list_of_labels_beside_pictures_is_no_text(tmp_path):
    (tmp_path / "labels.txt").write_text("cat\n")
    assert is_text(tmp_path)
    assert is_text(tmp_path / "labels.txt")
    (tmp_path / "a.png").write_bytes(b"")
    assert not is_text(tmp_path)


def test_without_padding_each_keeps_its_length(tmp_path):
    (tmp_path / "a.txt").write_text("a bb ccc\na\n")
    samples = load(tmp_path / "a.txt", model())
    assert [row[0].tolist() for row in samples.arrays] == [[[1, 2, 3]], [[1]]]
    assert all(row[1].all() for row in samples.arrays)
    assert "no padding" in samples.notes[0]


def test_under_the_mask_stand_tokens_of_the_text(tmp_path):
    (tmp_path / "a.txt").write_text("a bb ccc\na b c d e f\n")
    samples = load(tmp_path / "a.txt", model(5))
    assert samples.arrays[0][0].tolist() == [[1, 2, 3, 1, 2]]
    assert samples.arrays[0][1].tolist() == [[1, 1, 1, 0, 0]]
    assert samples.arrays[1][1].tolist() == [[1] * 5]
    assert "1 of 2 were cut" in samples.notes[0]


def test_one_size_for_all_cuts_too(tmp_path):
    (tmp_path / "a.txt").write_text("a bb ccc\na\n")
    samples = load(tmp_path / "a.txt", model(), TextSettings(pad_to=2))
    assert [row[0].shape for row in samples.arrays] == [(1, 2), (1, 2)]


def test_padding_that_the_model_cannot_know_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("a bb\n")
    samples = load(tmp_path / "a.txt", model(3, ("input_ids",)))
    assert samples.arrays[0][0].tolist() == [[1, 2, 99]]
    assert "no mask" in samples.notes[0]


def test_positions_of_padding_are_not_scored(tmp_path):
    (tmp_path / "a.txt").write_text("a bb\na bb ccc\n")
    samples = load(tmp_path / "a.txt", model(), TextSettings(pad_to=3))
    scores = [[np.arange(6.0).reshape(1, 3, 2), np.zeros((1, 3))] for _ in samples.arrays]
    kept = without_padding(scores, samples)
    assert kept[0][0].tolist() == [[[0.0, 1.0], [2.0, 3.0]]]
    assert kept[0][1].shape == (1, 3)
    assert kept[1][0].shape == (1, 3, 2)
    assert without_padding(scores, None) is scores


def test_a_model_of_something_else_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(SamplesError, match="takes audio"):
        load(tmp_path / "a.txt", model(3, ("input_ids", "audio")))
