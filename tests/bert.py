"""Tiny networks of text with weights at random, in folders as Hugging Face saves them. Needs torch and transformers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "the",
    "man",
    "woman",
    "dog",
    "cat",
    "child",
    "is",
    "was",
    "runs",
    "sleeps",
    "eats",
    "plays",
    "on",
    "in",
    "park",
    "house",
    "red",
    "blue",
    "big",
    "small",
    "fast",
    "slow",
    "and",
    "with",
    "ball",
    "food",
    "street",
    "tree",
    "sits",
    "jumps",
    "looks",
    "at",
    "two",
    "three",
    "people",
    "play",
    "guitar",
    "water",
    "bird",
    "sky",
    "sun",
    "##s",
    "##ing",
    ".",
]


def make_folder(folder: Path, head: str = "BertForMaskedLM", *, seed: int = 0, **config: Any) -> Path:
    """A BERT of two layers and its vocabulary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        torch.manual_seed(seed)
        shape = {
            "vocab_size": len(WORDS),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 24,
            "initializer_range": 0.2,
        }
        getattr(transformers, head)(transformers.BertConfig(**(shape | config))).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def make_sentence_encoder(folder: Path, **pooling: bool) -> Path:
    """The same with mean pooling and length 1, as Sentence Transformers saves it."""
    make_folder(folder, "BertModel")
    kinds = ("Transformer", "Pooling", "Normalize")
    entries = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 10}')
    return folder


def sentences(count: int) -> list[str]:
    """Different sentences of the vocabulary."""
    who, does, where = (
        ("man", "woman", "dog", "cat", "child", "bird"),
        ("runs", "sleeps", "eats", "plays", "sits"),
        ("park", "house", "street"),
    )
    made = [
        f"the {b} {a} {c} in the {d}" + " and looks at the sky" * (i % 2)
        for i, (a, b, c, d) in enumerate(
            (a, b, c, d) for a in who for b in ("big", "small", "red", "blue") for c in does for d in where
        )
    ]
    return [made[i * 7 % len(made)] for i in range(count)]
