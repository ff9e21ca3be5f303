"""Texts to tokens by a model's own tokenizer. The caller's side; `tokenizing` is the child's."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.errors import SamplesError

LIMITS = Limits(timeout_s=600.0, memory_bytes=4 << 30, output_bytes=256 << 20)
HINT = 'Name a folder with tokenizer.json or vocab.txt in edgeopt.toml: [text] tokenizer = "...".'


def tokenize(
    tokenizer: Path, texts: Sequence[Sequence[str]], max_length: int | None
) -> tuple[list[dict[str, Any]], int]:
    """Tokens of each text: `tokens` and `types` int64 [T], `pad` int64 [1], `cut` bool [1]; and the most that a text may have.

    Args:
        tokenizer: a folder, a tokenizer.json or a vocab.txt.
        texts: each one text, or a pair.
        max_length: where longer ones are cut, unless the tokenizer's folder says less.

    Raises:
        SamplesError: samples-mismatch: there is no tokenizer, it cannot be read, or the package `tokenizers` is missing.
    """
    if find_spec("tokenizers") is None:
        raise SamplesError(
            "making tokens of texts takes tokenizers, which is not installed",
            hint="pip install 'edgeopt[hf]', or save .npz files with the tokens.",
            code="samples-mismatch",
        )
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps([list(each) for each in texts]))
        request = {"tokenizer": str(tokenizer.absolute()), "texts": str(file), "max_length": max_length}
        try:
            answer = run_confined("tokenize", request, limits=LIMITS, workdir=Path(folder))
        except ConfinedFailure as failure:
            raise SamplesError(f"{tokenizer}: {failure.detail}", hint=HINT, code="samples-mismatch") from failure
    pad = np.array([answer["pad"]], np.int64)
    made = [
        {
            "tokens": np.array(each["tokens"], np.int64),
            "types": np.array(each["types"], np.int64),
            "cut": np.array([each["cut"]]),
            "pad": pad,
        }
        for each in answer["texts"]
    ]
    return made, int(answer["most"])
