"""What is installed on a device, as its agent says it. Fields that this version does not know are let pass."""

from __future__ import annotations

from typing import Any

import msgspec


class InstalledRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release in the device's tree. None where its manifest is damaged, or where it was never current."""

    digest: str
    variant: str | None
    bytes: int | None
    activated_at: str | None


class InstalledApp(msgspec.Struct, frozen=True, kw_only=True):
    """An app. `healthy_files`: every file of `current` was hashed just now and is right. `setting` is how it runs."""

    app: str
    current: str | None
    previous: str | None
    healthy_files: bool
    releases: tuple[InstalledRelease, ...]
    setting: dict[str, Any] | None = None


class InstalledRuntime(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime that edgeopt brought."""

    name: str
    version: str
    key: str
    bytes: int | None


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who is using the device: `owner` has host, pid, user, run."""

    owner: dict[str, Any] | None = None
    purpose: str | None = None
    since: str | None = None

    def sentence(self) -> str:
        """Return who it is, in words."""
        owner = self.owner or {}
        who = f"{owner.get('user', 'somebody')} on {owner.get('host', 'another computer')} (process {owner.get('pid', '?')})"
        return f"{who}: {self.purpose or 'a session'} since {self.since or 'an unknown time'}"


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Apps, runtimes and what they take of the disk. `lock` is None when nobody uses the device."""

    apps: tuple[InstalledApp, ...]
    runtimes: tuple[InstalledRuntime, ...]
    blobs_bytes: int
    disk_free_bytes: int | None
    lock: Holder | None = None
