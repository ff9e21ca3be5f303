"""`.npy` and `.npz` files as arrays: no pickle, and nothing allocated on the word of a header alone."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeopt.errors import SamplesError
from edgeopt.samples.record import Array, content_bytes, read_header, read_member

MAX_FILE_BYTES = 4 << 30
MAX_MEMBERS = 1_000
_DAMAGED = (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def read_npy(path: Path, label: str) -> Array:
    """The array of a `.npy` file.

    Raises:
        SamplesError: samples-unreadable: damaged, too large, or holding Python objects.
    """
    try:
        with path.open("rb") as stream:
            shape, dtype = read_header(stream)
            here = path.stat().st_size - stream.tell()
            if dtype.hasobject:
                raise SamplesError(
                    f"{label}: holds Python objects, which are not read",
                    hint="Save plain numbers: numpy.save(path, array.astype('float32')).",
                )
            if content_bytes(shape, dtype) > min(here, MAX_FILE_BYTES):
                raise SamplesError(
                    f"{label}: is cut off, or larger than {MAX_FILE_BYTES:,} bytes", hint="Save the file again."
                )
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
    except _DAMAGED as error:
        raise _unreadable(label, ".npy", error) from error


def read_keyed(path: Path, names: Sequence[str], label: str) -> tuple[Array, ...]:
    """The arrays of an `.npz` file, keyed by input name, in the order of `names`. The only array for the only input may have any key.

    Raises:
        SamplesError: samples-unreadable: damaged or too large; samples-mismatch: other keys than the inputs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_MEMBERS or sum(info.file_size for info in infos) > MAX_FILE_BYTES:
                raise SamplesError(
                    f"{label}: holds more than {MAX_MEMBERS:,} arrays or {MAX_FILE_BYTES:,} bytes",
                    hint="Save one sample per file.",
                )
            keys = _matched([info.filename.removesuffix(".npy") for info in infos], names, label)
            return tuple(read_member(archive, f"{key}.npy", Path(label), MAX_FILE_BYTES) for key in keys)
    except (*_DAMAGED, KeyError) as error:
        raise _unreadable(label, ".npz", error) from error


def _matched(keys: Sequence[str], names: Sequence[str], label: str) -> Sequence[str]:
    """The keys to read, one per input."""
    if set(keys) == set(names):
        return names
    if len(keys) == 1 and len(names) == 1:
        return keys
    found, wanted = ", ".join(sorted(keys)) or "nothing", ", ".join(names)
    message = f"{label} has the arrays {found}; the model's inputs are {wanted}"
    raise SamplesError(
        message,
        hint="Save one array per input under the input's name: numpy.savez(path, **{name: array}).",
        code="samples-mismatch",
    )


def _unreadable(label: str, kind: str, error: Exception) -> SamplesError:
    reason = str(error).split("\n")[0] or type(error).__name__
    return SamplesError(f"{label}: cannot be read as {kind}: {reason}", hint="Remove the file, or save it again.")
