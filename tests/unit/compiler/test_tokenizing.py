"""Tokens by a model's own tokenizer."""

from __future__ import annotations

import json

import pytest

from edgeopt.compiler import tokenize as caller
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.tokenize import tokenize
from edgeopt.compiler.tokenizing import most_tokens, open_tokenizer, tokenize_task
from edgeopt.errors import SamplesError
from tests.bert import WORDS

pytest.importorskip("tokenizers")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def test_word_pieces_of_a_vocabulary(folder):
    tokens, most = tokenize(folder, [["The dog runs"], ["a cat", "a dog"]], 5)
    assert [WORDS[i] for i in tokens[0]["tokens"]] == ["[CLS]", "the", "dog", "runs", "[SEP]"]
    assert (most, bool(tokens[0]["cut"][0]), bool(tokens[1]["cut"][0])) == (5, False, True)
    assert tokens[1]["types"].tolist()[-1] == 1
    assert tokens[0]["pad"].tolist() == [0]


def test_tokenizer_json_is_cut_as_its_folder_says(folder):
    open_tokenizer(folder).save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()
    (folder / "config.json").write_text('{"max_position_embeddings": 6, "model_type": "roberta"}')
    texts = folder / "texts.json"
    texts.write_text(json.dumps([["the big red dog runs in the park"]]))
    answer = tokenize_task({"tokenizer": str(folder), "texts": str(texts), "max_length": None}, folder, {})
    assert answer["most"] == most_tokens(folder) == 4
    assert answer["texts"][0]["cut"]


def test_capitals_stay_where_the_vocabulary_has_them(folder):
    (folder / "vocab.txt").write_text("\n".join([*WORDS, "Dog"]) + "\n")
    assert open_tokenizer(folder).encode("Dog").ids[1] == len(WORDS)


def test_no_tokenizer(tmp_path, folder, monkeypatch):
    with pytest.raises(Refused, match=r"no tokenizer\.json"):
        open_tokenizer(tmp_path / "nowhere")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(SamplesError, match=r"tokenizer\.json") as caught:
        tokenize(folder, [["a"]], None)
    assert "[text]" in str(caught.value.hint)
    monkeypatch.setattr(caller, "find_spec", lambda _: None)
    with pytest.raises(SamplesError, match="tokenizers"):
        tokenize(folder, [["a"]], None)
