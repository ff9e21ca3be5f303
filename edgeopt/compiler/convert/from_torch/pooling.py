"""What Sentence Transformers puts behind an encoder, as `modules.json` says: pooling over tokens, a dense layer, length 1. Child side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeopt.compiler.convert.from_torch.config import input_names, read_json
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten

OUTPUT = "sentence_embedding"
MODES = ("cls", "mean", "max")
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = {"Tanh": "Tanh", "Identity": "Identity", "ReLU": "ReLU", "GELU": "GELU"}


def has_pooling(folder: Path) -> bool:
    """Whether the folder is one of Sentence Transformers."""
    return (folder / "modules.json").is_file()


def read_pooling(folder: Path, encoder: Any) -> tuple[Any, str]:
    """The sentence encoder, [N, T] tokens and mask to [N, D], and the name of its output. Padding counts for nothing.

    Raises:
        Refused: model-unsupported: a module that is not known; model-unreadable.
    """
    import torch

    names = input_names(encoder.config.to_dict())
    stages = [_stage(folder, each) for each in _modules(folder)]

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        """Tokens to one vector for each text."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.stages = torch.nn.ModuleList(stages)

        def forward(self, *tensors: Any) -> Any:
            """Tensors in the order of `input_names`."""
            named = dict(zip(names, tensors, strict=True))
            found = self.encoder(**named).last_hidden_state
            for stage in self.stages:
                found = stage(found, named["attention_mask"]) if hasattr(stage, "mode") else stage(found)
            return found

    return Encoder(), OUTPUT


def _modules(folder: Path) -> list[dict[str, Any]]:
    """Entries of modules.json behind the encoder."""
    try:
        entries = json.loads((folder / "modules.json").read_bytes())
        entries = [
            {"type": str(each["type"]).rsplit(".", 1)[-1], "path": str(each.get("path", ""))} for each in entries
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused("model-unreadable", f"modules.json cannot be read: {shorten(str(error))}") from error
    if not entries or entries[0]["type"] != "Transformer" or entries[0]["path"] not in ("", "0_Transformer"):
        raise Refused("model-unsupported", "modules.json does not begin with a Transformer of this folder")
    return entries[1:]


def _stage(folder: Path, entry: dict[str, Any]) -> Any:
    """One module of the chain."""
    if entry["type"] == "Normalize":
        return _normalise()
    if entry["type"] == "Pooling":
        return _pool(_mode(_config(folder, entry)))
    if entry["type"] == "Dense":
        return _dense(folder, entry)
    raise Refused("model-unsupported", f"modules.json has a {entry['type']}; known are Pooling, Dense and Normalize")


def _config(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    return read_json(_inside(folder, entry) / "config.json")


def _inside(folder: Path, entry: dict[str, Any]) -> Path:
    """A module's folder, which lies in the model's own."""
    path = Path(entry["path"])
    if path.is_absolute() or ".." in path.parts:
        raise Refused("model-unconfined", f"modules.json names a folder outside: {entry['path'][:80]}")
    return folder / path


def _mode(config: dict[str, Any]) -> str:
    """How tokens become one vector."""
    named = config.get("pooling_mode")
    found = [named] if isinstance(named, str) else [mode for flag, mode in FLAGS.items() if config.get(flag)]
    if len(found) != 1 or found[0] not in MODES:
        raise Refused(
            "model-unsupported",
            f"it pools by {' and '.join(map(str, found)) or 'nothing'}; known are {', '.join(MODES)}",
        )
    return str(found[0])


def _pool(mode: str) -> Any:
    import torch

    class Pool(torch.nn.Module):  # type: ignore[misc]
        """[N, T, D] and a mask [N, T] to [N, D]."""

        def __init__(self) -> None:
            super().__init__()
            self.mode = mode

        def forward(self, hidden: Any, mask: Any) -> Any:
            """Only tokens whose mask is 1 count."""
            if mode == "cls":
                return hidden[:, 0]
            kept = mask.unsqueeze(-1).to(hidden.dtype)
            if mode == "max":
                return (hidden * kept + (kept - 1.0) * 1e9).max(1).values
            return (hidden * kept).sum(1) / kept.sum(1).clamp(min=1e-9)

    return Pool()


def _normalise() -> Any:
    import torch

    class Normalise(torch.nn.Module):  # type: ignore[misc]
        """To length 1."""

        def forward(self, vectors: Any) -> Any:
            """[N, D] to [N, D]."""
            return torch.nn.functional.normalize(vectors, p=2.0, dim=1)

    return Normalise()


def _dense(folder: Path, entry: dict[str, Any]) -> Any:
    """A layer with its activation."""
    import torch
    from safetensors.torch import load_file

    config, path = _config(folder, entry), _inside(folder, entry) / "model.safetensors"
    activation = str(config.get("activation_function", "")).rsplit(".", 1)[-1] or "Tanh"
    if activation not in ACTIVATIONS:
        raise Refused(
            "model-unsupported", f"its dense layer ends in {activation[:40]}; known are {', '.join(ACTIVATIONS)}"
        )
    if not path.is_file():
        raise Refused("model-unsupported", f"{entry['path']} has no model.safetensors; save it again in that form")
    try:
        weights = load_file(path)
        layer = torch.nn.Linear(int(config["in_features"]), int(config["out_features"]), bias="linear.bias" in weights)
        layer.load_state_dict({key.removeprefix("linear."): value.float() for key, value in weights.items()})
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-unreadable", f"{entry['path']} cannot be read: {shorten(str(error))}") from error
    return torch.nn.Sequential(layer, getattr(torch.nn, ACTIVATIONS[activation])())
