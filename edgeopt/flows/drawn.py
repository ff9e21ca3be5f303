"""Texts that nobody wrote as samples, for a user who has none and a model that takes tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeopt.compiler.draw_text import Wanted, draw_texts
from edgeopt.compiler.signature import takes_tokens
from edgeopt.domain.observer import Observer
from edgeopt.errors import SamplesError
from edgeopt.flows.source import Source
from edgeopt.profiles.config import ProjectConfig

if TYPE_CHECKING:
    from edgeopt.samples.record import Samples


def draw_samples(
    config: ProjectConfig,
    source: Source,
    tokenizer: Path | None,
    counts: tuple[int, int],
    seed: int,
    observer: Observer,
) -> tuple[Samples, Samples] | None:
    """Samples to calibrate on and to judge by, which share no text but by chance; None when the model's inputs are not those of texts.

    Args:
        config: the project's.
        source: the model that they are for.
        tokenizer: a folder or file; None without.
        counts: of either.
        seed: the same seed gives the same texts.
        observer: told how many there are.

    Raises:
        SamplesError: samples-mismatch: none can be drawn.
        ConfigError: `[shapes]` does not fit the model.
    """
    from edgeopt.samples.text import length_of, roles_of, samples_of

    if not takes_tokens(source.model.inputs):
        return None
    try:
        roles = roles_of(source.model.inputs)
    except SamplesError:
        return None
    length = length_of(source.model.inputs, config.shapes) or config.text.pad_to
    texts, how = draw_texts(
        source.path,
        source.model,
        roles,
        Wanted(count=sum(counts), length=length, seed=[seed]),
        tokenizer=tokenizer,
        tell=lambda words: observer.advance("samples", 0.0, words),
    )
    tokens = [{"tokens": np.array(text, np.int64), "types": np.zeros(len(text), np.int64)} for text in texts]
    calibration, heldout = (
        samples_of(
            part,
            [f"drawn text {number}" for number in range(len(part))],
            model=source.model,
            shapes=config.shapes,
            length=length,
            source=f"synthetic: texts drawn from {how}, seed {seed}",
            notes=[f"texts drawn from {how} stand in for samples"],
            synthetic=True,
        )
        for part in (tokens[: counts[0]], tokens[counts[0] :])
    )
    return calibration, heldout
