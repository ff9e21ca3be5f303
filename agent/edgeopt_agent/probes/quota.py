"""How often a CPU quota stopped this process: `docker run --cpus`, systemd's CPUQuota. Told by the control groups, which may be of version 1 or 2."""

from __future__ import annotations

from edgeopt_agent.probes import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNT = "/sys/fs/cgroup"


def parse_groups(text: str) -> list[str]:
    """Read /proc/self/cgroup: the folders that may count for this process's CPU time, its own and all above it (a quota higher up stops it, too).

    Lines are `0::/path` (version 2) or `3:cpu,cpuacct:/path` (version 1). In a container the path may be the host's, so the mount itself is always among them.
    """
    found: list[str] = []
    for line in text.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            mounts = [_MOUNT, f"{_MOUNT}/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [f"{_MOUNT}/{controllers}", f"{_MOUNT}/cpu"]
        else:
            continue
        found += [folder for mount in mounts for folder in _upwards(mount, path) if folder not in found]
    return found


def _upwards(mount: str, path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part and part != ".."]
    for count in range(len(parts), -1, -1):
        yield "/".join([mount, *parts[:count]])


def parse_throttled(text: str) -> int | None:
    """Read `nr_throttled` from a group's cpu.stat."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "nr_throttled" and words[1].isdigit():
            return int(words[1])
    return None


def times_throttled(root: str = "/") -> int | None:
    """Return in how many periods a quota stopped this process's groups; None when no group counts them."""
    groups = parse_groups(read(root, "/proc/self/cgroup")[0] or "")
    counts = [parse_throttled(read(root, f"{group}/cpu.stat")[0] or "") for group in groups]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
