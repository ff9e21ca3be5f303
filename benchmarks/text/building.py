"""What edgeopt makes of a text model's folder, for the benchmarks in this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeopt.domain.observer import Silent
from edgeopt.domain.variant import Built
from edgeopt.flows.compile import compile_model
from edgeopt.flows.request import Request
from edgeopt.profiles.places import Places, find_places


def build(
    folder: Path, texts: Sequence[str] | None, work: Path, *, recipes: Sequence[str], calibration: int, seed: int
) -> list[Built]:
    """Variants of the model in `folder`, calibrated on so many of the texts, or of drawn ones where there are none. `work` is made; what was refused is told."""
    work.mkdir(parents=True)
    if texts is not None:
        (work / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    samples = "synthetic" if texts is None else "texts.txt"
    (work / "edgeopt.toml").write_text(f'samples = "{samples}"\ncalibration = {calibration}\n')
    request = Request(model=folder, config=work / "edgeopt.toml", recipes=tuple(recipes), measure={"seed": seed})
    places = Places(config=work, data=work, cache=find_places().cache)
    made = compile_model(request, work / "out", places, Silent()).variants
    for variant in made:
        if not isinstance(variant, Built):
            print(f"{variant.name}: {variant.reason}", flush=True)
    return [variant for variant in made if isinstance(variant, Built)]


def file_of(variant: Built) -> Path:
    """Its graph."""
    return Path(variant.folder) / variant.files[0].path


def session_of(path: Path) -> Any:
    """ONNX Runtime with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feed_of(tokens: Any) -> dict[str, Any]:
    """One text without padding, as BERT takes it: token numbers [T] -> arrays [1, T]."""
    import numpy as np

    ids = np.asarray(tokens, np.int64)[None]
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
