"""What the `config.json` of a Hugging Face folder says of its network, before anything is loaded. Child side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeopt.compiler.refuse import Refused, shorten

HEADS = {
    "ForMaskedLM": ("AutoModelForMaskedLM", "logits"),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "logits"),
    "ForTokenClassification": ("AutoModelForTokenClassification", "logits"),
}
"""Ending of the architecture's name -> (what loads it, name of the output)."""

GENERATORS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSeq2SeqLM")

MAX_CONFIG_BYTES = 4 << 20


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        Refused: model-unreadable.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise Refused("model-too-large", f"{path.name} has more than {MAX_CONFIG_BYTES >> 20} MiB")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Refused("model-unreadable", f"{path.name} cannot be read: {shorten(str(error))}") from error
    if not isinstance(found, dict):
        raise Refused("model-unreadable", f"{path.name} is not a JSON object")
    return found


def check_config(config: dict[str, Any], folder: Path) -> None:
    """See that it is a text encoder with weights that can be read safely.

    Raises:
        Refused: model-unsupported with what it is instead.
    """
    if "auto_map" in config:
        raise Refused("model-unsupported", "it brings its own Python code (auto_map in config.json), which is not run")
    name = str(next(iter(config.get("architectures") or ()), ""))
    if config.get("is_encoder_decoder") or name.endswith(GENERATORS):
        raise Refused(
            "model-unsupported", f"{name or 'it'} generates text; encoders are what is taken (BERT and its kin)"
        )
    if not isinstance(config.get("vocab_size"), int):
        raise Refused("model-unsupported", f"{name or 'it'} takes no tokens: config.json has no vocab_size")
    if not any((folder / each).is_file() for each in ("model.safetensors", "model.safetensors.index.json")):
        words = "it has no model.safetensors"
        if any(folder.glob("*.bin")):
            words += ", and pytorch_model.bin is a pickle, which may run anything; save it again with save_pretrained()"
        raise Refused("model-unsupported", words)


def head_of(config: dict[str, Any]) -> tuple[str, tuple[str, str]]:
    """The ending of the architecture's name, what loads it and what its output is called; hidden states where it names no head."""
    name = str(next(iter(config.get("architectures") or ()), ""))
    for ending, found in HEADS.items():
        if name.endswith(ending):
            return ending, found
    return "", ("AutoModel", "last_hidden_state")


def input_names(config: dict[str, Any]) -> tuple[str, ...]:
    """What the network takes: types of tokens only where there is more than one."""
    kinds = config.get("type_vocab_size")
    types = ("token_type_ids",) if isinstance(kinds, int) and kinds > 1 else ()
    return ("input_ids", "attention_mask", *types)
