"""Texts from `.txt` files, one a line, and `.jsonl` files, one a line under a field; and tokens made of them as samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.domain.text import TextSettings
from edgeopt.errors import SamplesError
from edgeopt.samples.fit import fit
from edgeopt.samples.folders import KINDS, walk
from edgeopt.samples.record import Array, Samples, make_samples, stratified
from edgeopt.samples.shapes import Axis, Shapes, check_shapes, expected_shape

ENDINGS = (".txt", ".jsonl")
MAX_BYTES = 1 << 30
MAX_CHARACTERS = 100_000
"""Of one text; no tokenizer's answer to more is used."""

Text = tuple[str, ...]
"""One text, or the two of a pair."""

ROLES = {
    "tokens": ("input_ids", "ids", "tokens", "input"),
    "mask": ("attention_mask", "input_mask", "mask"),
    "types": ("token_type_ids", "segment_ids", "type_ids"),
    "positions": ("position_ids",),
}
"""What an input is for, by the names that exporters give it."""


def is_text(path: Path) -> bool:
    """Whether a file holds texts, or a folder texts and no other samples (beside pictures a text file is a list of labels)."""
    if not path.is_dir():
        return path.suffix.lower() in ENDINGS and path.is_file()
    endings = {file.suffix.lower() for file in walk(path)}
    return bool(endings & set(ENDINGS)) and not endings & KINDS.keys()


def read_texts(path: Path, settings: TextSettings, limit: int, seed: int) -> tuple[list[Text], list[str]]:
    """At most `limit` texts, one out of each of `limit` equal stretches, and what each is called (file and line). Empty lines count for nothing, repeated texts once.

    Raises:
        SamplesError: samples-empty; samples-unreadable: not UTF-8, or not JSON; samples-mismatch: a line without the field.
    """
    files = sorted(file for file in walk(path) if file.suffix.lower() in ENDINGS) if path.is_dir() else [path]
    found: dict[Text, str] = {}
    for file in files:
        for number, text in _texts(file, settings):
            found.setdefault(text, f"{file.name}, line {number}")
    if not found:
        raise SamplesError(f"{path}: holds no texts", hint="Write one text a line.", code="samples-empty")
    texts = list(found)
    chosen = stratified(len(texts), limit, seed)
    return [texts[i] for i in chosen], [found[texts[i]] for i in chosen]


def _texts(file: Path, settings: TextSettings) -> Iterator[tuple[int, Text]]:
    """(line number from 1, text)."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SamplesError(f"{file}: has more than {MAX_BYTES:,} bytes", hint="Give a part of it.")
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, _text(line.strip(), file, number, settings)
    except UnicodeDecodeError as error:
        raise SamplesError(f"{file}: is not UTF-8 text ({error.reason})", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise SamplesError(f"{file}: cannot be read: {error.strerror}") from error


def _text(line: str, file: Path, number: int, settings: TextSettings) -> Text:
    if file.suffix.lower() == ".txt":
        return (line[:MAX_CHARACTERS],)
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SamplesError(f"{file}, line {number}: not JSON: {error}", hint="Write one JSON object a line.") from error
    values = [entry.get(name) if isinstance(entry, dict) else None for name in settings.fields]
    if not all(isinstance(value, str) for value in values):
        names = ", ".join(entry) if isinstance(entry, dict) else "no object"
        raise SamplesError(
            f"{file}, line {number}: no text under {' and '.join(settings.fields)} (found: {names[:200]})",
            hint='Name the field in edgeopt.toml: [text] field = "...".',
            code="samples-mismatch",
        )
    return tuple(str(value)[:MAX_CHARACTERS] for value in values)


def roles_of(inputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Input name -> what it is for.

    Raises:
        SamplesError: samples-mismatch: an input that texts cannot feed.
    """
    found = {spec.name: role for spec in inputs for role, names in ROLES.items() if spec.name.lower() in names}
    unknown = [spec.name for spec in inputs if spec.name not in found]
    if unknown or "tokens" not in found.values():
        listed = ", ".join(unknown or [spec.name for spec in inputs])
        raise SamplesError(
            f"texts can feed token numbers, their mask, types and positions; this model takes {listed}",
            hint="Save .npz files with one array per input instead.",
            code="samples-mismatch",
        )
    return found


def length_of(inputs: Sequence[TensorSpec], shapes: Shapes) -> int | None:
    """The number of tokens that the model, or the project's `[shapes]`, asks for; None when it is open."""
    lengths = {shape[-1] for spec in inputs if (shape := expected_shape(spec, shapes)) is not None and len(shape) == 2}
    known = [axis for axis in lengths if isinstance(axis, int)]
    return known[0] if known else None


def samples_of(  # noqa: PLR0913  # independent settings, each with a name
    tokens: Sequence[dict[str, Array]],
    items: Sequence[str],
    *,
    model: ModelInfo,
    shapes: Shapes,
    length: int | None,
    source: str,
    notes: Sequence[str],
    synthetic: bool = False,
) -> Samples:
    """Samples of what the tokenizer made.

    Args:
        tokens: of each text `tokens` and `types`, int64 [T].
        items: what each text is called.
        model: whose inputs are fed.
        shapes: of inputs with open axes, by input name.
        length: to which shorter texts are filled up; None leaves them.
        source: in words.
        notes: what was assumed.
        synthetic: nobody wrote the texts.

    Raises:
        SamplesError: samples-mismatch.
        ConfigError: `shapes` does not fit the model.
    """
    check_shapes(model.inputs, shapes)
    roles = roles_of(model.inputs)
    masked = "mask" in roles.values()
    expected: dict[str, tuple[Axis, ...] | None] = {spec.name: expected_shape(spec, shapes) for spec in model.inputs}
    rows = []
    for each, item in zip(tokens, items, strict=True):
        filled = _filled(each, length, masked=masked)
        rows.append([fit(filled[roles[spec.name]], spec, expected[spec.name], item) for spec in model.inputs])
    names = [spec.name for spec in model.inputs]
    return make_samples(names, rows, source=source, synthetic=synthetic, notes=notes, items=items)


def _filled(tokens: dict[str, Array], length: int | None, *, masked: bool) -> dict[str, Array]:
    """All that an input can be for, int64 [1, T].

    Under a mask of 0 stand the text's own tokens again, not the padding token: the network must not look at them, and what it computes there has the size of what
    it computes elsewhere, so that the ranges of int8 are those of texts.
    """
    ids, types = tokens["tokens"], tokens["types"]
    count = len(ids)
    total = max(count, length or 0)
    if total > count:
        more = np.arange(total - count) % count
        ids = np.concatenate([ids, ids[more] if masked else np.full(total - count, tokens["pad"][0])])
        types = np.concatenate([types, types[more]])
    mask = (np.arange(total) < count).astype(np.int64)
    made = {"tokens": ids, "types": types, "mask": mask, "positions": np.arange(total)}
    return {name: np.asarray(value, np.int64)[None] for name, value in made.items()}


Outputs = Sequence[Sequence[Array]]
Tokenizer = Callable[[Sequence[Text], int | None], tuple[list[dict[str, Array]], int]]
"""From texts and the most tokens wanted to tokens of each, and the most tokens that were allowed."""


def padding_words(length: int | None, *, masked: bool) -> str:
    """What became of texts shorter than others."""
    if length is None:
        return "every text keeps its length: there is no padding"
    if masked:
        return f"shorter texts are filled up to {length} tokens with their own, under a mask of 0"
    return f"shorter texts are filled up to {length} tokens with padding, which the model cannot tell from text: it has no mask"


def load_texts(  # noqa: PLR0913  # independent settings, each with a name
    path: Path,
    *,
    settings: TextSettings,
    model: ModelInfo,
    shapes: Shapes,
    limit: int,
    seed: int,
    source: str,
    tokenize: Tokenizer,
) -> Samples:
    """Read texts and make samples of them.

    Args:
        path: a file or a folder.
        settings: `[text]`.
        model: whose inputs are fed.
        shapes: of inputs with open axes, by input name.
        limit: most samples.
        seed: which of many.
        source: what the user wrote.
        tokenize: makes tokens of texts.

    Raises:
        SamplesError: see `read_texts`, `samples_of` and the tokenizer.
    """
    roles = roles_of(model.inputs)
    fixed = length_of(model.inputs, shapes)
    texts, items = read_texts(path, settings, limit, seed)
    tokens, most = tokenize(texts, _least(fixed, settings.max_length, settings.pad_to))
    length = fixed or settings.pad_to
    cut = sum(bool(each["cut"][0]) for each in tokens)
    told = [
        f"texts: at most {most} tokens ({cut} of {len(texts)} were cut); {padding_words(length, masked='mask' in roles.values())}"
    ]
    return samples_of(tokens, items, model=model, shapes=shapes, length=length, source=source, notes=told)


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def mask_of(names: Sequence[str], row: Sequence[Array]) -> Array | None:
    """Where a sample has text, bool [N, T]; None when it has no mask, or no padding."""
    masks = [array for name, array in zip(names, row, strict=True) if name.lower() in ROLES["mask"] and array.ndim == 2]
    return np.asarray(masks[0] > 0) if masks and not np.all(masks[0] > 0) else None


def without_padding(answers: Outputs, samples: Samples | None) -> Outputs:
    """Answers, samples x outputs, in which outputs [N, T, D] have lost the positions of padding, [1, P, D]: what is computed there nobody uses.

    Args:
        answers: to the first of the samples.
        samples: as they were fed; None when that is not known.
    """
    if samples is None:
        return answers
    masks = [mask_of(samples.names, row) for row in samples.arrays[: len(answers)]]
    return [
        [
            array[mask][None] if mask is not None and array.ndim == 3 and array.shape[:2] == mask.shape else array
            for array in row
        ]
        for row, mask in zip(answers, masks, strict=True)
    ]
