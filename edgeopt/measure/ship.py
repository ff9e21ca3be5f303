"""Bring content to the device: only what is missing, from where it stopped, verified there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeopt.domain.observer import Observer
from edgeopt.errors import AgentError, DiskFull, LinkError, LinkLost, LinkTimeout, Unreachable
from edgeopt.measure.session import Session

ATTEMPTS = 4
"""How often a broken way is opened again within one upload, with growing pauses."""

RESERVE_BYTES = 32 * 1024 * 1024
"""Kept free on the device: the system that runs there needs some room, too."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A file on the host and what it must hash to."""

    digest: str
    bytes: int
    path: Path
    label: str


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload cost. `resumed_bytes` were on the device from an earlier, broken upload."""

    sent_bytes: int
    already_there_bytes: int
    resumed_bytes: int
    reconnects: int


def ship(session: Session, contents: Sequence[Content], observer: Observer) -> Shipped:
    """Bring every content to the device's blobs.

    Raises:
        DiskFull: it does not fit; nothing is sent.
        LinkError: the way broke more often than it could be opened again; what arrived is kept for the next time.
    """
    wanted = {content.digest: content for content in contents}
    sent = resumed = reconnects = 0
    total = sum(content.bytes for content in wanted.values())
    observer.stage("ship", f"send to {session.device.name}", float(total))
    while True:
        try:
            reply = session.call("have", {"digests": sorted(wanted)}, timeout_s=_hash_timeout_s(total))
            missing = [wanted[digest] for digest in reply["missing"]]
            partial: dict[str, int] = reply["partial"]
            _check_room(session, missing, partial)
            done = total - sum(content.bytes for content in missing)
            for content in sorted(missing, key=lambda c: c.bytes):
                offset = min(int(partial.get(content.digest, 0)), content.bytes)
                resumed += offset
                sent += _send(session, content, offset, done, observer)
                done += content.bytes
            break
        except (LinkLost, LinkTimeout) as error:
            reconnects += 1
            _reopen(session, error, reconnects, observer)
    observer.finish("ship", f"{sent} bytes sent")
    already = total - sum(content.bytes for content in missing) if reconnects == 0 else max(0, total - sent - resumed)
    return Shipped(sent_bytes=sent, already_there_bytes=already, resumed_bytes=resumed, reconnects=reconnects)


def _send(session: Session, content: Content, offset: int, done: int, observer: Observer) -> int:
    remote = f"{session.root}/incoming/{content.digest}.part"

    def progress(now: int, _total: int) -> None:
        observer.advance("ship", float(done + now), content.label)

    sent = session.link.put(content.path, remote, offset=offset, progress=progress)
    args = {"digest": content.digest, "bytes": content.bytes}
    try:
        session.call("commit", args, timeout_s=_hash_timeout_s(content.bytes))
    except AgentError as error:
        if error.code != "digest-mismatch":
            raise
        if offset == 0:
            msg = f"{session.device.name}: {content.label} arrived damaged"
            raise LinkError(
                msg, hint="Try again. When it happens twice, suspect the device's storage.", code="damaged-in-transit"
            ) from error
        # The old part was bad; the agent removed it, so the whole file goes once more.
        sent += _send(session, content, 0, done, observer)
    return sent


def _hash_timeout_s(count: int) -> float:
    """Return how long a device may take to read and hash so many bytes: an SD card may read at 2 MB/s."""
    return 60.0 + count / 2e6


def _reopen(session: Session, error: LinkError, attempt: int, observer: Observer) -> None:
    """Open the way again with growing pauses, or give up with the error that broke it."""
    while attempt < ATTEMPTS:
        pause_s = 0.5 * 2**attempt
        observer.note(f"{error.message}; connecting again in {pause_s:.0f} s")
        time.sleep(pause_s)
        try:
            session.reopen()
        except (LinkLost, LinkTimeout, Unreachable) as again:
            error, attempt = again, attempt + 1
            continue
        return
    raise type(error)(
        error.message, hint="What arrived is kept on the device: run the same command again and it goes on from there."
    ) from error


def _check_room(session: Session, missing: Sequence[Content], partial: dict[str, int]) -> None:
    need = sum(content.bytes - int(partial.get(content.digest, 0)) for content in missing)
    if need <= 0:
        return
    free = session.call("probe", {})["disk"]["free_bytes"]
    if free is not None and need + min(RESERVE_BYTES, need) > free:
        raise DiskFull(
            f"{session.device.name}: {need / 1e6:.1f} MB to send, {free / 1e6:.1f} MB free in {session.root}",
            hint="Free some space there, or name a folder on a larger disk with --root.",
        )
