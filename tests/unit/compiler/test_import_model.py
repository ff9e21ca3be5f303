"""A Hugging Face folder as the model: what becomes of it, that it answers the same, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeopt.compiler import import_model as importing
from edgeopt.compiler.import_model import find_kind, import_model
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import open_session
from edgeopt.domain.observer import Silent
from edgeopt.errors import ModelError
from edgeopt.flows.compile import compile_model
from edgeopt.flows.request import Request
from edgeopt.flows.source import read_source
from edgeopt.profiles.places import Places
from tests.bert import WORDS, make_folder, make_sentence_encoder, sentences

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_masked_language_model_is_a_file_with_open_axes(masked, cache):
    source = read_source(masked, cache, Silent())
    assert [(spec.name, spec.shape) for spec in source.model.inputs] == [
        (name, ("batch", "sequence")) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert source.model.outputs[0].name == "logits"
    assert source.model.outputs[0].shape is not None
    assert source.model.outputs[0].shape[-1] == len(WORDS)
    assert (source.model.task, source.model.name, source.model.opset) == ("tokens", "tiny-bert", 17)
    assert source.tokenizer == masked
    assert "as PyTorch does" in source.model.warnings[0]


def test_it_is_written_once(masked, cache, monkeypatch):
    first = import_model(masked, "huggingface", cache)

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(importing, "run_confined", never)
    assert import_model(masked, "huggingface", cache) == first


def test_compile_from_folder_and_sentences(masked, cache, tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(sentences(60)) + "\n")
    request = Request(model=masked, samples=str(file), recipes=("int8-dynamic", "int8-static"), budget="instant")
    places = Places(config=tmp_path / "config", data=tmp_path / "data", cache=cache)
    compiled = compile_model(request, tmp_path / "out", places, Silent())
    found = {variant.name: variant.fidelity for variant in compiled.variants}
    assert list(found) == ["original", "int8-dynamic", "int8-static"]
    assert {fidelity.metric for fidelity in found.values()} == {"token_top1"}
    assert found["int8-static"].agreement > 0.85
    assert found["int8-dynamic"].agreement > 0.85


def test_texts_of_one_length_become_tflite(masked, cache, tmp_path):
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "lines.txt").write_text("\n".join(sentences(40)) + "\n")
    (tmp_path / "edgeopt.toml").write_text('samples = "lines.txt"\n[text]\npad_to = 10\n')
    request = Request(model=masked, config=tmp_path / "edgeopt.toml", recipes=("litert",))
    places = Places(config=tmp_path / "config", data=tmp_path / "data", cache=cache)
    made = compile_model(request, None, places, Silent()).variants[1]
    assert getattr(made, "reason", None) is None
    assert made.fidelity.sqnr_db > 80


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_a_sentence_encoder_pools_without_padding(tmp_path, mode):
    import torch

    from edgeopt.compiler.convert.from_torch.export import export, quiet
    from edgeopt.compiler.convert.from_torch.folder import read_folder

    flag = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}[mode]
    folder = make_sentence_encoder(tmp_path / "encoder", **{flag: True})
    network = read_folder({"source": str(folder)})
    assert export(network, tmp_path / "model.onnx") < 1e-4
    session = open_session(tmp_path / "model.onnx")
    ids = np.array([[2, 7, 12, 13, 3]])
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (alone,) = session.run(["sentence_embedding"], feed)
    padded = {name: np.pad(value, ((0, 0), (0, 4))) for name, value in feed.items()}
    (filled,) = session.run(["sentence_embedding"], padded)
    np.testing.assert_allclose(filled, alone, atol=1e-5)
    with torch.no_grad(), quiet():
        hidden = network.module.encoder(torch.tensor(ids)).last_hidden_state[0].numpy()
    pooled = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0)}[mode]
    np.testing.assert_allclose(alone[0], pooled / np.linalg.norm(pooled), atol=1e-5)


def config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auto_map": {"AutoModel": "own.py--Own"}}, "own Python code"),
        ({"architectures": ["GPT2LMHeadModel"]}, "generates text"),
        ({"is_encoder_decoder": True}, "generates text"),
        ({"vocab_size": None}, "takes no tokens"),
        ({"num_hidden_layers": 3}, "lacks weights"),
        ({"architectures": ["BertForSequenceClassification"]}, "lacks weights"),
    ],
)
def test_refused_with_the_reason(masked, tmp_path, changes, words):
    from edgeopt.compiler.convert.from_torch.folder import read_folder

    folder = tmp_path / "model"
    folder.mkdir()
    for file in masked.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config(folder, **changes)
    with pytest.raises(Refused, match=words):
        read_folder({"source": str(folder)})


def test_weights_in_a_pickle_are_not_read(tmp_path):
    from edgeopt.compiler.convert.from_torch.folder import read_folder

    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "vocab_size": 5}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    with pytest.raises(Refused, match="pickle"):
        read_folder({"source": str(tmp_path)})


def test_unknown_pooling_is_refused(tmp_path):
    from edgeopt.compiler.convert.from_torch.folder import read_folder

    folder = make_sentence_encoder(tmp_path / "encoder", pooling_mode_lasttoken=True)
    with pytest.raises(Refused, match="lasttoken"):
        read_folder({"source": str(folder)})


def test_a_refusal_names_the_folder(tmp_path, cache):
    (tmp_path / "config.json").write_text("[]")
    assert find_kind(tmp_path) == "huggingface"
    with pytest.raises(ModelError, match="not a JSON object") as caught:
        import_model(tmp_path, "huggingface", cache)
    assert str(tmp_path) in caught.value.message


def test_what_is_missing_is_named_with_its_extra(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(importing, "find_spec", lambda name: None if name == "transformers" else name)
    with pytest.raises(ModelError, match="transformers") as caught:
        import_model(tmp_path, "huggingface", cache)
    assert "edgeopt[hf]" in str(caught.value.hint)
