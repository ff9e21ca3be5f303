"""What a device said when it could not read or write a file, as our errors.

Two sources, one answer: errno from the operating system here, and the text that `cat`, `dd` and the shell print in the C locale there.
"""

from __future__ import annotations

import errno
import os

from edgeopt.errors import DeviceError, DiskFull, LinkError, ReadOnly

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SEALED = (errno.EROFS, errno.EACCES, errno.EPERM)
_TEXTS = {
    os.strerror(number): number
    for number in (*_FULL, *_SEALED, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EIO, errno.EFBIG)
}
# dash's own words for ENOENT when it cannot create a file.
_TEXTS["Directory nonexistent"] = errno.ENOENT
_TEXTS["nonexistent directory"] = errno.ENOENT


def find_errno(text: str) -> int | None:
    """Find the error number whose C-locale text is in what a command printed; None when there is none that matters here."""
    lowered = text.lower()
    return next((number for words, number in _TEXTS.items() if words.lower() in lowered), None)


def write_error(number: int | None, name: str, path: str, detail: str) -> DeviceError:
    """Return the error to raise when `path` on the device `name` could not be written."""
    if number in _FULL:
        return DiskFull(
            f"{name}: no room for {path}: {detail}",
            hint="Free some space (or inodes: df -i) there and try again; the upload goes on where it stopped.",
        )
    if number in _SEALED:
        return ReadOnly(
            f"{name}: {path} cannot be written: {detail}",
            hint="Remount the file system writable or give the user the folder; an SD card that turns read-only by itself is dying.",
        )
    return LinkError(f"{name}: {path} cannot be written: {detail}")


def read_error(name: str, path: str, detail: str) -> LinkError:
    """Return the error to raise when `path` on the device `name` could not be read."""
    return LinkError(f"{name}: {path} cannot be read: {detail}")


def short_target(name: str, path: str, offset: int) -> LinkError:
    """Return the error to raise when there is less of `path` than an upload wants to keep."""
    return LinkError(
        f"{name}: {path} has fewer than {offset} bytes; the upload cannot go on there", hint="Send it from the start."
    )


def too_large(name: str, path: str, max_bytes: int) -> LinkError:
    """Return the error to raise when a file on the device is larger than what is taken from it."""
    return LinkError(f"{name}: {path} has more than {max_bytes} bytes, the most that is taken from there")


def printable(raw: bytes, limit: int = 300) -> str:
    """Return the end of what a device said, on one line and without control characters: it goes to somebody's terminal."""
    text = raw.decode("utf-8", "replace")
    lines = [" ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in text.splitlines()]
    return "; ".join(line for line in lines if line)[-limit:] or "it did not say why"
