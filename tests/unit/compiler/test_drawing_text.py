"""Texts that nobody wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgeopt.compiler.draw_text import Wanted, draw_texts
from edgeopt.compiler.drawing_text import Vocabulary, draw, draw_text_task
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.refuse import Refused
from edgeopt.errors import SamplesError
from edgeopt.samples.text import samples_of
from tests.bert import WORDS
from tests.models import make, value

START, END, MASK = WORDS.index("[CLS]"), WORDS.index("[SEP]"), WORDS.index("[MASK]")
INPUTS = [
    {"name": "input_ids", "role": "tokens", "dtype": "int64"},
    {"name": "attention_mask", "role": "mask", "dtype": "int64"},
]
ROLES = {each["name"]: each["role"] for each in INPUTS}


def text_net(path: Path, rows: int, scores: int | None, *, favourite: int = 0) -> Path:
    """[1, T] token numbers to [1, T, scores]: it believes in one token wherever it looks; without scores vectors of 4."""
    table = np.zeros((rows, 4), np.float32)
    table[:, 0] = 1.0
    head = np.zeros((4, scores or 4), np.float32)
    head[0, favourite] = 50.0 if scores else 1.0
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=onnx.TensorProto.INT32, name="cast"),
        helper.make_node("Gather", ["table", "ids"], ["e"], name="look"),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=onnx.TensorProto.FLOAT, name="mask"),
        helper.make_node("Unsqueeze", ["m", "last"], ["m3"], name="wide"),
        helper.make_node("Mul", ["e", "m3"], ["h"], name="masked"),
        helper.make_node("MatMul", ["h", "head"], ["y"], name="head"),
    ]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(head, "head"),
        numpy_helper.from_array(np.array([-1], np.int64), "last"),
    ]
    kind = onnx.TensorProto.INT64
    inputs = [helper.make_tensor_value_info(each["name"], kind, [1, "T"]) for each in INPUTS]
    onnx.save(make(nodes, inputs, [value("y", [1, "T", scores or 4])], constants), path)
    return path


def request(model: Path, tokenizer: Path | None, **changes: Any) -> dict[str, Any]:
    asked = {"model": str(model), "tokenizer": str(tokenizer) if tokenizer else None, "tokens": "input_ids"}
    return asked | {"inputs": INPUTS, "length": None, "count": 6, "seed": [0]} | changes


@pytest.fixture
def words(tmp_path: Path) -> Path:
    pytest.importorskip("tokenizers")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def test_without_predictions_words_are_drawn_alike_between_the_special_tokens(words: Path, tmp_path: Path) -> None:
    model = text_net(tmp_path / "m.onnx", len(WORDS), None)
    answer = draw_text_task(request(model, words, count=40), tmp_path, {})
    texts = answer["texts"]
    assert all(text[0] == START and text[-1] == END for text in texts)
    inner = {number for text in texts for number in text[1:-1]}
    assert not inner & {WORDS.index(name) for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    assert len(inner) > 0.9 * (len(WORDS) - 5)
    assert len({len(text) for text in texts}) > 5, "lengths differ where the model leaves them open"
    assert answer["how"] == f"a vocabulary of {len(WORDS) - 5} alike"


def test_a_masked_language_model_is_asked_what_it_believes(words: Path, tmp_path: Path) -> None:
    favourite = WORDS.index("dog")
    model = text_net(tmp_path / "m.onnx", len(WORDS), len(WORDS), favourite=favourite)
    answer = draw_text_task(request(model, words, length=12), tmp_path, {})
    assert answer["texts"] == [[START, *[favourite] * 10, END]] * 6
    assert answer["how"] == "the model's own predictions"


def test_draws_follow_the_models_probabilities_of_a_place_given_the_others() -> None:
    """A model of pairs: a token's neighbour is likely the next one. Texts of it are runs, which no independent draw is."""
    vocabulary = Vocabulary(words=np.arange(10, 20), start=1, end=2, mask=3)

    def believes(ids: Any) -> Any:
        scores = np.zeros((len(ids), 20))
        for place in range(1, len(ids)):
            if ids[place - 1] >= 10:
                scores[place, 10 + (ids[place - 1] - 9) % 10] = 8.0
        return scores

    generator = np.random.default_rng(0)
    texts = [draw(vocabulary, 12, generator, believes) for _ in range(20)]
    follows = np.mean([(text[2:-1] - 10) == (text[1:-2] - 9) % 10 for text in texts])
    assert follows > 0.5, "alike it would be a tenth"
    assert not any(3 in text for text in texts)


def test_without_a_tokenizer_the_table_bounds_the_numbers(tmp_path: Path) -> None:
    model = text_net(tmp_path / "m.onnx", 7, None)
    texts = draw_text_task(request(model, None, length=30), tmp_path, {})["texts"]
    assert {number for text in texts for number in text} == set(range(7))


def test_a_tokenizer_of_more_words_than_the_table_has_rows_is_cut(words: Path, tmp_path: Path) -> None:
    model = text_net(tmp_path / "m.onnx", 20, None)
    texts = draw_text_task(request(model, words, count=20), tmp_path, {})["texts"]
    assert max(number for text in texts for number in text) < 20


def test_nobody_knows_the_vocabulary(tmp_path: Path) -> None:
    path = text_net(tmp_path / "m.onnx", 7, None)
    with pytest.raises(Refused) as refused:
        draw_text_task(request(path, None, tokens="attention_mask"), tmp_path, {})
    assert refused.value.code == "vocabulary-unknown"


def test_in_the_child_the_same_seed_draws_the_same_and_they_feed_the_model(words: Path, tmp_path: Path) -> None:
    model = text_net(tmp_path / "m.onnx", len(WORDS), len(WORDS), favourite=9)
    info = inspect_model(model)
    drawn = [
        draw_texts(model, info, ROLES, Wanted(count=4, length=None, seed=[seed]), tokenizer=words)[0]
        for seed in (3, 3, 4)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    tokens = [{"tokens": np.array(text), "types": np.zeros(len(text), np.int64)} for text in drawn[0]]
    made = samples_of(tokens, list("abcd"), model=info, shapes={}, length=None, source="s", notes=[], synthetic=True)
    assert made.synthetic
    assert made.arrays[0][0].dtype == np.int64
    one = Wanted(count=1, length=None, seed=[0])
    with pytest.raises(SamplesError, match="no texts can be drawn for"):
        draw_texts(model, info, ROLES | {"x": "tokens"}, one, tokenizer=tmp_path / "none")


def test_who_waits_is_told_how_far_it_is(words: Path, tmp_path: Path) -> None:
    """The child counts, and its line comes through."""
    model = text_net(tmp_path / "m.onnx", len(WORDS), len(WORDS), favourite=9)
    said: list[str] = []
    wanted = Wanted(count=300, length=40, seed=[3])
    draw_texts(model, inspect_model(model), ROLES, wanted, tokenizer=words, tell=said.append)
    assert re.fullmatch(r"texts drawn: \d+/300", said[-1])
