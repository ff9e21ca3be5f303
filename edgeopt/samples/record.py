"""Samples as they are fed to a model: the record, how it is divided, and its file.

The file is the `.npz` of the wire protocol: array `s<i>.<j>` is input number `j`, in the order of the signature, of sample `i`.
No pickle is read or written, and what a file says of its size is checked before anything is allocated.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeopt.errors import SamplesError

Array = np.ndarray[Any, np.dtype[Any]]
Row = tuple[Array, ...]

MAX_FILE_BYTES = 8 << 30
MAX_ARRAYS = 1_000_000
_KEY = re.compile(r"^s(0|[1-9][0-9]{0,6})\.(0|[1-9][0-9]{0,3})\.npy$")


class Samples(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Inputs exactly as they are fed to the model.

    `arrays[i][j]` is input `names[j]` of sample `i`, with its batch axis. `digest` is sha256 in hex over names, dtypes, shapes and bytes.
    `source` says in words where they come from, `items` what each sample is called (its file), as many as samples or none. `synthetic` samples are random: fit for timing, never for agreement. `notes` are
    assumptions that were made on the way, sentences for people.
    """

    names: tuple[str, ...]
    arrays: tuple[Row, ...]
    digest: str
    source: str
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    items: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.arrays)

    def feeds(self) -> list[dict[str, Array]]:
        """One `{input name: array}` per sample, as ONNX Runtime takes it."""
        return [dict(zip(self.names, row, strict=True)) for row in self.arrays]


def make_samples(
    names: Sequence[str],
    rows: Sequence[Sequence[Array]],
    *,
    source: str,
    synthetic: bool = False,
    notes: Sequence[str] = (),
    items: Sequence[str] = (),
) -> Samples:
    """Build the record and its digest. Arrays are made C-contiguous, nothing else is changed.

    Raises:
        ValueError: a row has another number of arrays than there are names.
    """
    arrays = tuple(tuple(np.asarray(array, order="C") for array in row) for row in rows)
    for row in arrays:
        if len(row) != len(names):
            raise ValueError(f"a sample has {len(row)} arrays for {len(names)} inputs")
    digest = hashlib.sha256(repr(tuple(names)).encode())
    for row in arrays:
        digest.update(sample_digest(row))
    return Samples(
        names=tuple(names),
        arrays=arrays,
        digest=digest.hexdigest(),
        source=source,
        synthetic=synthetic,
        notes=tuple(notes),
        items=tuple(items),
    )


def sample_digest(row: Sequence[Array]) -> bytes:
    """sha256 of one sample's content: dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in row:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.asarray(array, order="C").tobytes())
    return digest.digest()


def select(samples: Samples, indices: Sequence[int]) -> Samples:
    """The samples at `indices`, in that order."""
    return make_samples(
        samples.names,
        [samples.arrays[i] for i in indices],
        source=samples.source,
        synthetic=samples.synthetic,
        notes=samples.notes,
        items=[samples.items[i] for i in indices] if samples.items else (),
    )


def take(samples: Samples, n: int) -> Samples:
    """At most `n` samples, spread evenly over all of them (folders are often sorted by class, so the first n would be of one kind)."""
    return samples if n >= len(samples) else select(samples, spread(len(samples), n))


def spread(count: int, n: int) -> list[int]:
    """`min(n, count)` distinct indices below `count`, evenly spread, ascending."""
    n = max(0, min(n, count))
    return [i * count // n for i in range(n)]


def stratified(count: int, n: int, seed: int) -> list[int]:
    """`min(n, count)` distinct indices below `count`, ascending: one out of each of `n` equal stretches, so that no period in the order of the files matters."""
    starts = spread(count, n)
    ends = [*starts[1:], count]
    return [start + _number(seed, start) % (end - start) for start, end in zip(starts, ends, strict=False)]


def _number(seed: int, position: int) -> int:
    """A number that looks random, the same on every computer."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{position}".encode()).digest()[:8], "big")


def split(samples: Samples, *, seed: int, calibration: int) -> tuple[Samples, Samples]:
    """Divide into (calibration, held-out), disjoint by content.

    Calibration gets at most `calibration` samples and at most half, because the held-out part carries every statement about agreement: a
    single distinct sample is held out. Samples of equal content stay on one side. The same samples and seed give the same division on every
    computer: groups are ordered by a hash of their content and the seed, not by a random generator. Calibration stays in that order: folders are sorted by class, and some of what reads the
    samples takes the first few.
    """
    groups: dict[bytes, list[int]] = {}
    for index, row in enumerate(samples.arrays):
        groups.setdefault(sample_digest(row), []).append(index)
    room = min(max(0, calibration), len(samples) // 2)
    chosen: list[int] = []
    for content in sorted(groups, key=lambda content: hashlib.sha256(b"%d:" % seed + content).digest()):
        if len(chosen) + len(groups[content]) <= room:
            chosen += groups[content]
    kept = set(chosen)
    heldout = [i for i in range(len(samples)) if i not in kept]
    return select(samples, chosen), select(samples, heldout)


def write_npz(samples: Samples, path: Path) -> None:
    """Write the wire's `.npz`, whole or not at all. Equal samples give equal bytes.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {f"s{i}.{j}": array for i, row in enumerate(samples.arrays) for j, array in enumerate(row)}
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, allow_pickle=False, **tensors)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_npz(path: Path, names: Sequence[str], source: str, *, max_bytes: int = MAX_FILE_BYTES) -> Samples:
    """Read what `write_npz` wrote (or what the agent did, for outputs: then `names` are the outputs' names).

    Raises:
        SamplesError: samples-missing; samples-unreadable when the file is damaged, too large, or does not hold `s<i>.<j>` for every sample.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path, len(names), max_bytes)
            rows = [[read_member(archive, member, path, max_bytes) for member in row] for row in members]
    except FileNotFoundError as error:
        raise SamplesError(f"{path}: no such file", code="samples-missing") from error
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SamplesError(f"{path}: cannot be read: {error}") from error
    return make_samples(names, rows, source=source)


def _members(archive: zipfile.ZipFile, path: Path, width: int, max_bytes: int) -> list[list[str]]:
    """Names of the archive's members by sample and input, checked to be complete and within bounds."""
    infos = archive.infolist()
    if len(infos) > MAX_ARRAYS or sum(info.file_size for info in infos) > max_bytes:
        raise SamplesError(f"{path}: holds more than {MAX_ARRAYS:,} arrays or {max_bytes:,} bytes")
    found = {info.filename for info in infos}
    strange = sorted(name for name in found if not _KEY.match(name))
    if strange:
        raise SamplesError(f"{path}: {strange[0]!r} is not the name of a sample's array (s0.0, s0.1, s1.0 ...)")
    if width == 0 or len(found) % width:
        raise SamplesError(f"{path}: {len(found)} arrays do not make samples of {width} each")
    rows = [[f"s{i}.{j}.npy" for j in range(width)] for i in range(len(found) // width)]
    missing = [name for row in rows for name in row if name not in found]
    if missing:
        raise SamplesError(f"{path}: array {missing[0].removesuffix('.npy')} is missing")
    return rows


def read_member(archive: zipfile.ZipFile, member: str, path: Path, max_bytes: int) -> Array:
    """One array of an `.npz`. The header's shape is compared with the member's size, so that a header alone cannot make numpy allocate.

    Raises:
        SamplesError: the header lies, or the array holds Python objects.
        OSError, ValueError, zipfile.BadZipFile, zlib.error: what the libraries say of a damaged file.
    """
    with archive.open(member) as stream:
        shape, dtype = read_header(stream)
        size = archive.getinfo(member).file_size
        if dtype.hasobject or content_bytes(shape, dtype) > min(size, max_bytes):
            raise SamplesError(f"{path}: array {member.removesuffix('.npy')} is damaged, or holds Python objects")
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def content_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Size of an array's content."""
    return math.prod(shape) * dtype.itemsize


def read_header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a `.npy` stream, read without its data.

    Raises:
        ValueError: not a `.npy` stream.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the .npy format is not for plain arrays")
    return shape, dtype
