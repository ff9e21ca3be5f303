"""A Hugging Face folder, `config.json` and weights in safetensors, as a network that takes tokens. Child side.

No code of the folder runs and nothing of it is unpickled: weights in `pytorch_model.bin` (a pickle) and configurations that bring their own code are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgeopt.compiler.convert.from_torch.config import check_config, head_of, input_names, read_json
from edgeopt.compiler.convert.from_torch.export import quiet
from edgeopt.compiler.convert.from_torch.network import Network, Tensors
from edgeopt.compiler.convert.from_torch.pooling import has_pooling, read_pooling
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten

SIZES = ((2, 12), (1, 1), (1, 7), (3, 33))
"""(batch, sequence) of what is traced and compared; the first is traced, and has padding in its second row."""


def read_folder(request: dict[str, Any]) -> Network:
    """`{"source"}` -> the network: the sentence encoder that `modules.json` describes, or the head that `config.json` names.

    Raises:
        Refused: model-unsupported, model-unreadable.
    """
    folder = Path(request["source"])
    config = read_json(folder / "config.json")
    check_config(config, folder)
    if has_pooling(folder):
        module, output = read_pooling(folder, load(folder, "AutoModel"))
        return _network(module, config, output, {0: "batch"})
    ending, (loader, output) = head_of(config)
    module = picked(load(folder, loader), output)
    axes = {0: "batch"} if ending == "ForSequenceClassification" else {0: "batch", 1: "sequence"}
    return _network(module, config, output, axes)


def load(folder: Path, loader: str) -> Any:
    """The folder's module in float32.

    Raises:
        Refused: model-unreadable; model-unsupported: weights are missing, which would be drawn at random.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    with quiet():
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        try:
            module, told = getattr(transformers, loader).from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
            )
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError from error
            raise Refused("model-unreadable", f"transformers cannot load it: {shorten(str(error))}") from error
    missing = sorted(key for key in told["missing_keys"] if not _is_unused(key, loader))
    if missing or told["mismatched_keys"]:
        names = ", ".join(map(str, (missing or told["mismatched_keys"])[:3]))
        raise Refused("model-unsupported", f"its file lacks weights that config.json asks for: {names}")
    return module


def _is_unused(key: str, loader: str) -> bool:
    """Nothing reads the pooler of a model without a head; many files leave it out."""
    return loader == "AutoModel" and "pooler." in key


def picked(module: Any, output: str) -> Any:
    """A module that takes tensors by position and answers one output of a model that takes them by name."""
    import torch

    class Picked(torch.nn.Module):  # type: ignore[misc]
        """One output."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *tensors: Any) -> Any:
            """Tensors in the order of `input_names`."""
            named = dict(zip(input_names(module.config.to_dict()), tensors, strict=True))
            return getattr(self.inner(**named), output)

    return Picked()


def _network(module: Any, config: dict[str, Any], output: str, axes: dict[int, str]) -> Network:
    names = input_names(config)
    return Network(
        module=module,
        examples=[_example(names, config, batch, length) for batch, length in SIZES],
        outputs=(output,),
        open_axes={name: {0: "batch", 1: "sequence"} for name in names} | {output: axes},
    )


def _example(names: tuple[str, ...], config: dict[str, Any], batch: int, length: int) -> Tensors:
    """Tokens drawn from a seed; of the second row the last third is padding."""
    import torch

    generator = torch.Generator().manual_seed(batch * 1000 + length)
    length = min(length, int(config.get("max_position_embeddings", length)))
    mask = torch.ones((batch, length), dtype=torch.int64)
    if batch > 1:
        mask[1, length - length // 3 :] = 0
    tokens = torch.randint(0, int(config["vocab_size"]), (batch, length), generator=generator)
    made = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": torch.zeros_like(mask)}
    return {name: made[name] for name in names}
