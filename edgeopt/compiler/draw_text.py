"""Texts that nobody wrote, for a model that takes tokens. The caller's side; `drawing_text` is the child's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.compiler.progress import read_progress
from edgeopt.domain.model import ModelInfo
from edgeopt.errors import SamplesError

TIMEOUT_S = 1800.0
BASE_MEMORY_BYTES, MEMORY_PER_BYTE = 4 << 30, 4


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How many texts, of how many tokens (None: each has its own number), and from what seed: the same numbers give the same texts on one computer."""

    count: int
    length: int | None
    seed: Sequence[int]


def draw_texts(
    model: Path,
    info: ModelInfo,
    roles: Mapping[str, str],
    wanted: Wanted,
    *,
    tokenizer: Path | None,
    tell: Callable[[str], None] | None = None,
) -> tuple[list[list[int]], str]:
    """Token numbers of each text, and what they were drawn from, in words.

    Args:
        model: the graph's file; its external data lies beside it.
        info: as inspected.
        roles: what each input is for: tokens, mask, types or positions.
        wanted: see there.
        tokenizer: a folder or a file; None when there is none, or the package `tokenizers` is missing.
        tell: told now and then how far it is, for people.

    Raises:
        SamplesError: samples-mismatch: nobody knows the vocabulary, or the model fails.
    """
    request = {
        "model": str(model.absolute()),
        "tokenizer": str(tokenizer.absolute()) if tokenizer is not None and find_spec("tokenizers") else None,
        "tokens": next(name for name, role in roles.items() if role == "tokens"),
        "inputs": [{"name": spec.name, "role": roles[spec.name], "dtype": spec.dtype} for spec in info.inputs],
        "length": wanted.length,
        "count": wanted.count,
        "seed": list(wanted.seed),
    }
    limits = Limits(
        timeout_s=TIMEOUT_S, memory_bytes=BASE_MEMORY_BYTES + MEMORY_PER_BYTE * info.bytes, output_bytes=64 << 20
    )
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        path = Path(folder) / "progress"

        def watch() -> None:
            if tell is not None:
                tell(read_progress(path))

        try:
            answer = run_confined(
                "draw_text", request | {"progress": str(path)}, limits=limits, workdir=Path(folder), watch=watch
            )
        except ConfinedFailure as failure:
            raise SamplesError(
                f"no texts can be drawn for {info.name}: {failure.detail}",
                hint="Give texts of your own: --samples FILE.txt.",
                code="samples-mismatch",
            ) from failure
    return answer["texts"], str(answer["how"])
