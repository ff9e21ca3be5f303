"""Samples from what the user names: a folder of images, `.npy` or `.npz` files, one such file, or `module:function`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.domain.preprocess import Preprocess
from edgeopt.errors import SamplesError
from edgeopt.samples.arrays import read_keyed, read_npy
from edgeopt.samples.fit import fit
from edgeopt.samples.folders import FORMS, KINDS, find_files
from edgeopt.samples.images import read_image
from edgeopt.samples.preprocess import apply, complete
from edgeopt.samples.record import Array, Row, Samples, make_samples, stratified
from edgeopt.samples.shapes import Shapes, check_shapes, expected_shape
from edgeopt.samples.user_code import call_function, is_function


def load_samples(  # noqa: PLR0913  # independent settings, each with a name
    spec: str,
    *,
    base: Path,
    preprocess: Preprocess | None,
    model: ModelInfo,
    limit: int,
    shapes: Shapes | None = None,
    seed: int = 0,
    note: Callable[[str], None] | None = None,
) -> Samples:
    """Read at most `limit` samples, each as the model is fed.

    Args:
        spec: what the user wrote: a path relative to `base`, or `module:function`, which is imported from `base` and called.
        base: the folder of edgeopt.toml, or the current one.
        preprocess: how images become tensors; None: as the model's signature says.
        model: whose inputs the samples must fit.
        limit: of more files, one out of each of `limit` equal stretches of the sorted list is taken.
        shapes: of inputs with dynamic axes, by input name.
        seed: decides which one of each stretch.
        note: told every assumption, in a sentence; they are in the record too.

    Raises:
        SamplesError: samples-missing, samples-empty, samples-mismatch, samples-unreadable; the message names the file.
        ConfigError: `shapes` does not fit the model.
    """
    shapes = shapes or {}
    check_shapes(model.inputs, shapes)
    reader = _Reader(model, preprocess, shapes, base)
    path = Path(spec).expanduser() if spec.startswith("~") else base / spec
    if _exists(path):
        rows = reader.rows(path, limit, seed)
    elif is_function(spec):
        rows = call_function(spec, base=base, names=[each.name for each in model.inputs], limit=limit)
        rows = [reader.fitted(row, f"{spec}, sample {number}") for number, row in enumerate(rows)]
    else:
        raise SamplesError(f"{path}: no such file or folder", hint=FORMS, code="samples-missing")
    if not rows:
        raise SamplesError(f"{spec}: holds no samples", hint=FORMS, code="samples-empty")
    for text in reader.notes:
        if note is not None:
            note(text)
    return make_samples([each.name for each in model.inputs], rows, source=spec, notes=reader.notes, items=reader.items)


class _Reader:
    """Reads files for one model; collects what it assumed."""

    def __init__(self, model: ModelInfo, preprocess: Preprocess | None, shapes: Shapes, base: Path) -> None:
        self.notes: list[str] = []
        self.items: list[str] = []
        self._inputs = model.inputs
        self._shapes = {spec.name: expected_shape(spec, shapes) for spec in model.inputs}
        self._preprocess = preprocess
        self._base = base

    def rows(self, path: Path, limit: int, seed: int) -> list[Row]:
        """The samples of a folder or a file."""
        if path.is_dir():
            files, kind = find_files(path, self._label(path))
            if kind != "images" and self._preprocess is not None:
                self._remark(f"[preprocess] is for images; {kind} are fed as they are")
            chosen = [files[i] for i in stratified(len(files), limit, seed)]
            return self._image_rows(chosen) if kind == "images" else [self._array_row(file) for file in chosen]
        single = KINDS.get(path.suffix.lower())
        if single == "images":
            return self._image_rows([path])
        if single is None:
            raise SamplesError(f"{self._label(path)}: not a file of samples", hint=FORMS)
        return self._split(self._arrays(path), self._label(path), limit, seed)

    def fitted(self, row: Sequence[Array], label: str) -> Row:
        """A sample as the model takes it."""
        return tuple(
            fit(array, spec, self._shapes[spec.name], label) for array, spec in zip(row, self._inputs, strict=True)
        )

    def _image_rows(self, files: Sequence[Path]) -> list[Row]:
        spec = self._only_input("images", "Save .npz files with one array per input instead.")
        shape = self._shapes[spec.name]
        settings, notes = complete(self._preprocess, spec, shape)
        self.notes += notes
        rows: list[Row] = []
        for file in files:
            label = self._label(file)
            self.items.append(label)
            rows.append((fit(apply(read_image(file, label), settings), spec, shape, label),))
        return rows

    def _arrays(self, file: Path) -> tuple[Array, ...]:
        if file.suffix.lower() == ".npz":
            return read_keyed(file, [spec.name for spec in self._inputs], self._label(file))
        self._only_input(".npy files", "Save .npz files with one array per input instead.")
        return (read_npy(file, self._label(file)),)

    def _array_row(self, file: Path) -> Row:
        row = self._arrays(file)
        for array, spec in zip(row, self._inputs, strict=True):
            if array.dtype.kind == "u" and spec.dtype.startswith("float"):
                self._remark(
                    f"{spec.name}: {array.dtype} samples are fed as {spec.dtype}, their values unchanged (not scaled to 0..1)"
                )
        self.items.append(self._label(file))
        return self.fitted(row, self._label(file))

    def _split(self, row: Sequence[Array], label: str, limit: int, seed: int) -> list[Row]:
        """One file that may hold many samples along the batch axis: it does when every input has the same multiple of its batch."""
        counts = {self._batches(array, spec) for array, spec in zip(row, self._inputs, strict=True)}
        count = counts.pop() if len(counts) == 1 else None
        if count is None:
            return [self.fitted(row, label)]
        self._remark(f"{label}: read as {count} samples along the first axis")
        chosen = stratified(count, limit, seed)
        self.items += [f"{label}, sample {i}" for i in chosen]
        return [
            self.fitted([_part(array, i, count) for array in row], item)
            for i, item in zip(chosen, self.items, strict=True)
        ]

    def _batches(self, array: Array, spec: TensorSpec) -> int | None:
        """How many samples lie along the first axis; None when it is one sample."""
        shape = self._shapes[spec.name]
        if shape is None or len(shape) < 2 or array.ndim != len(shape):
            return None
        batch = shape[0] if isinstance(shape[0], int) else 1
        whole = batch > 0 and array.shape[0] > batch and array.shape[0] % batch == 0
        return array.shape[0] // batch if whole else None

    def _only_input(self, what: str, hint: str) -> TensorSpec:
        if len(self._inputs) != 1:
            names = ", ".join(spec.name for spec in self._inputs) or "none"
            message = f"{what} can feed a model with one input; this one has {len(self._inputs)}: {names}"
            raise SamplesError(message, hint=hint, code="samples-mismatch")
        return self._inputs[0]

    def _label(self, path: Path) -> str:
        """The path as the user would write it."""
        return str(path.relative_to(self._base)) if path.is_relative_to(self._base) else str(path)

    def _remark(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _exists(path: Path) -> bool:
    """Whether something is there; a text that cannot be a path names nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _part(array: Array, index: int, count: int) -> Array:
    """Sample `index` of `count` along the first axis."""
    size = array.shape[0] // count
    return array[index * size : (index + 1) * size]
