"""Unpacks a wheel as if it came from an enemy: plain files with plain relative paths only, no links, bounded in number, size and ratio."""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib

from edgeopt_agent.errors import AgentError, free_bytes, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_ENTRIES = 50_000
_MAX_TOTAL_BYTES = 4 << 30
_MAX_RATIO = 100
_SLACK_BYTES = 1 << 20
"""A tiny wheel may hold one file that compresses better than the ratio."""
_MAX_PATH_BYTES = 1000
_MAX_PART_BYTES = 255
_CHUNK_BYTES = 1 << 20
_SCHEMES = ("purelib", "platlib")
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)
"""What reading a damaged archive raises, or one whose files lie in files."""


def unpack(path: str, name: str, site: str, tick: Callable[[], None]) -> list[str]:
    """Unpack the wheel at `path` into the folder `site`; returns the files that it brought, relative to that.

    Args:
        path: the wheel's content.
        name: its file name, for messages.
        site: the folder; several wheels share it.
        tick: called after every file and every MiB; what it raises ends the work.

    Raises:
        AgentError: `bad-request` when it is no wheel that is safe to unpack, `disk-full` when there is no room for it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_bounds(entries, os.path.getsize(path), name)
            _check_room(entries, site, name)
            brought = []
            for entry in entries:
                target = _target(entry, name)
                if target is not None:
                    _write(archive, entry, os.path.join(site, target), tick)
                    brought.append(target)
                tick()
            return brought
    except _BROKEN as error:
        raise _unsafe(name, f"it cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Its table of contents points before its beginning.
        raise _unsafe(name, "it is damaged") from error


def _check_bounds(entries: list[zipfile.ZipInfo], packed_bytes: int, name: str) -> None:
    if len(entries) > _MAX_ENTRIES:
        raise _unsafe(name, f"it has {len(entries)} entries, the limit is {_MAX_ENTRIES}")
    if len({entry.filename for entry in entries}) != len(entries):
        raise _unsafe(name, "a name appears twice")
    total = sum(entry.file_size for entry in entries)
    limit = min(_MAX_TOTAL_BYTES, _MAX_RATIO * packed_bytes + _SLACK_BYTES)
    if total > limit:
        raise _unsafe(name, f"its {packed_bytes} bytes would become {total}, the limit is {limit}")


def _check_room(entries: list[zipfile.ZipInfo], site: str, name: str) -> None:
    total = sum(entry.file_size for entry in entries)
    room = free_bytes(site)
    if room is not None and total + (16 << 20) > room:
        raise AgentError(
            "disk-full",
            f"{name} needs {total / 1e6:.1f} MB unpacked, {room / 1e6:.1f} MB are free",
            path=site,
            free_bytes=room,
        )


def _target(entry: zipfile.ZipInfo, name: str) -> str | None:
    """Return where an entry goes, relative to the site folder; None for what a runtime does not need (scripts, headers, folders)."""
    if entry.flag_bits & 0x1:
        raise _unsafe(name, "it is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unsafe(name, f"compression {entry.compress_type} is not one that wheels have")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(name, f"{entry.filename[:80]!r} is not a plain file")
    parts = entry.filename.rstrip("/").split("/")
    if not all(_is_plain(part) for part in parts) or len(entry.filename.encode("utf-8", "replace")) > _MAX_PATH_BYTES:
        raise _unsafe(name, f"{entry.filename[:80]!r} is not a plain relative path")
    if entry.filename.endswith("/") or kind == stat.S_IFDIR:
        return None
    if parts[0].endswith(".data"):
        return "/".join(parts[2:]) if len(parts) > 2 and parts[1] in _SCHEMES else None
    return "/".join(parts)


def _is_plain(part: str) -> bool:
    return (
        part not in ("", ".", "..")
        and part.isprintable()
        and "\\" not in part
        and len(part.encode("utf-8")) <= _MAX_PART_BYTES
    )


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: str, tick: Callable[[], None]) -> None:
    os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as reader, open(target, "wb") as writer:
        while True:
            data = reader.read(_CHUNK_BYTES)
            if not data:
                break
            left -= len(data)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename!r} is longer than it says")
            writer.write(data)
            tick()


def _unsafe(name: str, reason: str) -> AgentError:
    return AgentError("bad-request", f"{printable(name, limit=120)} is not a wheel to unpack: {printable(reason)}")
