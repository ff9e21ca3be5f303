"""The samples of a job: the user's own, divided; or invented ones, where there are none."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeopt.compiler.tokenize import HINT, tokenize
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.observer import Observer
from edgeopt.domain.run import SamplesInfo
from edgeopt.errors import SamplesError
from edgeopt.flows.request import Request
from edgeopt.flows.source import Source
from edgeopt.profiles.config import ProjectConfig

if TYPE_CHECKING:
    from edgeopt.samples.record import Samples

HELDOUT = 500
"""Samples kept for judging, at most. 500 that all agree prove with 95 % confidence that fewer than 0.6 % disagree."""

INVENTED_HELDOUT = 100
"""Invented samples for judging: more of them prove nothing about anybody's data."""

RANGE_ASSUMED = (
    "no [preprocess] is set, so pixels are taken as 0..1: where your application feeds other numbers (0..255, or minus a mean), int8 built on this "
    "answers wrongly; set [preprocess] in edgeopt.toml"
)


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Samples for calibrating and for judging, which share none, and where they come from. All None when there are none.

    `assumed` says what nobody has told and int8 depends on; None when everything was told.
    """

    calibration: Samples | None = None
    heldout: Samples | None = None
    info: SamplesInfo | None = None
    assumed: str | None = None


def read_inputs(
    request: Request, config: ProjectConfig, base: Path, source: Source, seed: int, observer: Observer
) -> Inputs:
    """Read what the request or the project names; nothing when neither does. `source` is the model that they are for.

    Raises:
        SamplesError, ConfigError: see `load_samples` and `invent_samples`.
    """
    from edgeopt.samples.invent import SYNTHETIC

    spec = request.samples or config.samples
    if spec is None:
        return Inputs()
    if spec == SYNTHETIC:
        return invent_inputs(config, base, source, seed, observer)
    observer.stage("samples", f"read samples from {spec}")
    return _told(_read(spec, request, config, base, source, seed, observer), observer)


def invent_inputs(config: ProjectConfig, base: Path, source: Source, seed: int, observer: Observer) -> Inputs:
    """Make synthetic samples, and say what they are worth.

    Raises:
        SamplesError, ConfigError: see `invent_samples`.
    """
    from edgeopt.compiler.outputs import most_samples
    from edgeopt.samples.invent import assumes_range, invent_samples

    observer.stage("samples", "invent synthetic samples")
    model = source.model
    counts = (max(1, config.calibration), max(1, min(INVENTED_HELDOUT, most_samples(model))))
    calibration, heldout = _drawn(config, base, source, counts, seed, observer) or (
        invent_samples(model, count, seed, part=part, preprocess=config.preprocess, shapes=config.shapes)
        for part, count in enumerate(counts)
    )
    for note in calibration.notes:
        observer.note(note)
    assumed = RANGE_ASSUMED if assumes_range(model, config.preprocess, config.shapes) else None
    if assumed is not None:
        observer.note(assumed)
    return _told(_inputs(calibration, heldout, calibration.digest, assumed), observer)


def _drawn(
    config: ProjectConfig, base: Path, source: Source, counts: tuple[int, int], seed: int, observer: Observer
) -> tuple[Samples, Samples] | None:
    """Texts that nobody wrote; None, and where it is a surprise a note, when none can be drawn."""
    from edgeopt.flows.drawn import draw_samples

    try:
        tokenizer: Path | None = _tokenizer(config, base, source)
    except SamplesError:
        tokenizer = None
    try:
        return draw_samples(config, source, tokenizer, counts, seed, observer)
    except SamplesError as error:
        observer.note(error.message)
        return None


def invent_if_possible(config: ProjectConfig, base: Path, source: Source, seed: int, observer: Observer) -> Inputs:
    """Make synthetic samples for a user who named none; nothing, and a note, where that cannot be."""
    try:
        return invent_inputs(config, base, source, seed, observer)
    except SamplesError as error:
        observer.finish("samples", "none")
        observer.note(f"no samples are named, and none could be invented: {error.message}")
        return Inputs()


def _read(
    spec: str,
    request: Request,
    config: ProjectConfig,
    base: Path,
    source: Source,
    seed: int,
    observer: Observer,
) -> Inputs:
    from edgeopt.compiler.outputs import most_samples
    from edgeopt.samples.record import split

    limit = config.calibration + min(HELDOUT, most_samples(source.model))
    place = Path.cwd() if request.samples else base
    everything = _texts(spec, place, config, base, source, limit, seed) or _files(
        spec, place, config, source.model, limit, seed
    )
    for note in everything.notes:
        observer.note(note)
    calibration, heldout = split(
        everything, seed=seed, calibration=min(config.calibration, len(everything.arrays) // 2)
    )
    return _inputs(calibration, heldout, everything.digest, None, source=spec)


def _files(spec: str, place: Path, config: ProjectConfig, model: ModelInfo, limit: int, seed: int) -> Samples:
    """Pictures, arrays, or what the user's function gives."""
    from edgeopt.samples.read import load_samples

    return load_samples(
        spec, base=place, preprocess=config.preprocess, model=model, limit=limit, shapes=config.shapes, seed=seed
    )


def _texts(
    spec: str, place: Path, config: ProjectConfig, base: Path, source: Source, limit: int, seed: int
) -> Samples | None:
    """Texts as tokens; None when the samples are none, or the model takes no tokens."""
    from edgeopt.compiler.signature import takes_tokens
    from edgeopt.samples.text import is_text, load_texts

    path = place / Path(spec).expanduser()
    if not takes_tokens(source.model.inputs) or not is_text(path):
        return None
    tokenizer = _tokenizer(config, base, source)
    return load_texts(
        path,
        settings=config.text,
        model=source.model,
        shapes=config.shapes,
        limit=limit,
        seed=seed,
        source=spec,
        tokenize=partial(tokenize, tokenizer),
    )


def _tokenizer(config: ProjectConfig, base: Path, source: Source) -> Path:
    """What the project names, else where the model comes from, else what lies beside its file.

    Raises:
        SamplesError: samples-mismatch: none is there.
    """
    if config.text.tokenizer is not None:
        return base / Path(config.text.tokenizer).expanduser()
    folder = source.tokenizer or source.path.parent
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise SamplesError(f"{folder}: holds no tokenizer, which texts need", hint=HINT, code="samples-mismatch")
    return folder


def _inputs(
    calibration: Samples, heldout: Samples, digest: str, assumed: str | None, source: str | None = None
) -> Inputs:
    info = SamplesInfo(
        source=source or calibration.source,
        count=len(calibration) + len(heldout),
        calibration=len(calibration),
        heldout=len(heldout),
        digest=digest,
        synthetic=calibration.synthetic,
    )
    return Inputs(calibration=calibration, heldout=heldout, info=info, assumed=assumed)


def _told(inputs: Inputs, observer: Observer) -> Inputs:
    if inputs.info is not None:
        words = "synthetic samples" if inputs.info.synthetic else "samples"
        split = f"{inputs.info.calibration} to calibrate, {inputs.info.heldout} to judge"
        observer.finish("samples", f"{inputs.info.count} {words}: {split}")
    return inputs
