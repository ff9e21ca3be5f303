"""Arrays: from and to `.npz` files (never pickled), checked for NaN, compared. Needs numpy, which every runtime here brings."""

from __future__ import annotations

import re
import zipfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_KEY = re.compile(r"s(\d{1,9})\.(\d{1,4})", re.ASCII)

_NUMBERS = "fciub"
"""numpy's kinds of dtypes that can be subtracted, once they are wide."""


class TensorsError(ValueError):
    """A file of tensors is not as the protocol says."""


class Samples:
    """A file of samples: array `s<i>.<j>` is tensor number j of sample i. Arrays are read when they are asked for.

    Args:
        path: the .npz file.
        names: names of the tensors, in the order of the model's signature.

    Raises:
        TensorsError: a tensor is missing, or there are more than names.
    """

    def __init__(self, path: str, names: list[str]) -> None:
        import numpy as np

        self._file = np.load(path, allow_pickle=False)
        self._names = names
        found = [_KEY.fullmatch(key) for key in self._file.files]
        pairs = {(int(m.group(1)), int(m.group(2))) for m in found if m}
        self.count = 1 + max((sample for sample, _ in pairs), default=-1)
        expected = {(sample, tensor) for sample in range(self.count) for tensor in range(len(names))}
        if not self.count or pairs != expected or len(pairs) != len(self._file.files):
            raise TensorsError(f"the file does not hold {len(names)} tensors for each sample: {', '.join(names)}")

    def get(self, sample: int) -> dict[str, Any]:
        """Return {name: array} of one sample."""
        return {name: self._file[f"s{sample}.{number}"] for number, name in enumerate(self._names)}

    def each(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Go through the samples, one in memory at a time."""
        for sample in range(self.count if limit is None else min(limit, self.count)):
            yield self.get(sample)

    def within(self, limit_bytes: int) -> list[dict[str, Any]]:
        """Return as many of the first samples as fit into `limit_bytes`, at least one."""
        kept: list[dict[str, Any]] = []
        size = 0
        for sample in self.each():
            size += sum(array.nbytes for array in sample.values())
            if kept and size > limit_bytes:
                break
            kept.append(sample)
        return kept


def is_one_each(samples: list[dict[str, Any]]) -> bool:
    """Tell whether every tensor has one entry along its first axis, and those of one name are alike, so that they can be joined along it."""
    first = {name: array.shape[1:] for name, array in samples[0].items()}
    return all(
        array.ndim > 0 and array.shape[0] == 1 and array.shape[1:] == first[name]
        for sample in samples
        for name, array in sample.items()
    )


def batches(samples: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Return the samples, each of one entry along the first axis, joined along it to feeds of `size` entries; samples repeat where there are too few."""
    import numpy as np

    starts = range(0, len(samples), size)
    groups = [[samples[(start + offset) % len(samples)] for offset in range(size)] for start in starts]
    return [{name: np.concatenate([sample[name] for sample in group]) for name in group[0]} for group in groups]


def are_of_one_size(feeds: list[dict[str, Any]]) -> bool:
    """Say whether all samples have tensors of the same shapes."""
    return len({tuple((name, array.shape) for name, array in sorted(feed.items())) for feed in feeds}) == 1


class Writer:
    """Writes outputs into an .npz file, one sample at a time."""

    def __init__(self, path: str) -> None:
        self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self.samples = 0
        self.bytes = 0

    def add(self, outputs: list[Any]) -> None:
        """Add the outputs of the next sample."""
        import numpy as np

        for number, output in enumerate(outputs):
            array = plain(output)
            with self._archive.open(f"s{self.samples}.{number}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
            self.bytes += int(array.nbytes)
        self.samples += 1

    def close(self) -> None:
        """Finish the file."""
        self._archive.close()


def plain(output: Any) -> Any:
    """Return an output as an array that needs no pickle: strings become fixed-width text. Raises TensorsError for sequences and maps."""
    import numpy as np

    if not isinstance(output, np.ndarray):
        raise TensorsError(f"an output is a {type(output).__name__}, not a tensor")
    return output.astype(np.str_) if output.dtype == object else output


def total_bytes(outputs: list[Any]) -> int:
    """Return the size of all arrays."""
    return sum(int(plain(output).nbytes) for output in outputs)


def not_finite(outputs: list[Any], names: list[str]) -> str | None:
    """Say which output holds NaN or infinity, or None. What is not an array of floats is finite."""
    import numpy as np

    for name, output in zip(names, outputs):
        if isinstance(output, np.ndarray) and output.dtype.kind in "fc" and not np.isfinite(output).all():
            bad = int(output.size - np.isfinite(output).sum())
            return f"{bad} of {output.size} values of output {name} are NaN or infinite"
    return None


def largest_error(got: Any, want: Any, rtol: float, atol: float) -> tuple[float | None, str | None]:
    """Compare an output with what it must be: |got - want| <= atol + rtol * |want| everywhere.

    Returns:
        (largest absolute difference, or None where there is none to speak of; what is wrong, or None).
    """
    import numpy as np

    got = plain(got)
    if got.shape != want.shape:
        return None, f"shape {list(got.shape)} instead of {list(want.shape)}"
    if got.dtype.kind != want.dtype.kind or (got.dtype.kind in _NUMBERS and got.dtype != want.dtype):
        return None, f"dtype {got.dtype} instead of {want.dtype}"
    if got.dtype.kind not in _NUMBERS:
        return None, None if bool((got == want).all()) else "texts differ"
    if not got.size:
        return 0.0, None
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    difference = np.abs(got.astype(wide) - want.astype(wide))
    if not np.isfinite(difference).all():
        return None, "NaN or infinity"
    worst = float(difference.max())
    allowed = atol + rtol * np.abs(want.astype(wide))
    beyond = int((difference > allowed).sum())
    return worst, f"{beyond} of {got.size} values are off, by up to {worst:.6g}" if beyond else None
