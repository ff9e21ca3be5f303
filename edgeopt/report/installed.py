"""What is installed on a device, as lines for people. Everything in it came from the device, so it is `safe`."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.domain.installed import Installed, InstalledApp, InstalledRelease
from edgeopt.report.cells import UNKNOWN, megabytes, safe


def installed_lines(device: str, found: Installed) -> Iterator[str]:
    """Yield apps with their releases, the one that was activated last on top; runtimes; space; who is using the device."""
    if not found.apps:
        yield f"{device}: nothing is installed. Install something: edgeopt deploy --device {device}"
    for app in found.apps:
        yield from _app(app)
    for runtime in found.runtimes:
        yield safe(f"runtime {runtime.name} {runtime.version}: {megabytes(runtime.bytes)} MB")
    free = "" if found.disk_free_bytes is None else f", free on the disk: {found.disk_free_bytes / 1e9:.1f} GB"
    yield f"content kept: {megabytes(found.blobs_bytes)} MB{free}"
    if found.lock is not None:
        yield safe(f"in use by {found.lock.sentence()}")


def _app(app: InstalledApp) -> Iterator[str]:
    yield safe(f"{app.app}: {_health(app)}")
    for release in sorted(app.releases, key=lambda r: r.activated_at or "", reverse=True):
        mark = {app.current: "current", app.previous: "previous"}.get(release.digest, "")
        yield f"  {_release(release)}  {mark}".rstrip()


def _health(app: InstalledApp) -> str:
    if app.current is None:
        return "nothing is current"
    return "files verified" if app.healthy_files else "FILES DAMAGED; deploy again, or roll back"


def _release(release: InstalledRelease) -> str:
    variant = safe(release.variant or "damaged manifest")
    size = megabytes(release.bytes)
    return f"{release.digest[:12]}  {variant:<16} {size:>8} MB  {safe(release.activated_at or UNKNOWN):<24}"
