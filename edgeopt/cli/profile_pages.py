"""The pages of `docs/profiles` that are generated from `device_profiles/`: `python -m edgeopt.cli.profile_pages DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeopt.measure.wheels import version_floors
from edgeopt.profiles.load import list_profiles
from edgeopt.report.profile import index_page, page


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    profiles, floors = list_profiles(), version_floors()
    return {"README.md": index_page(profiles)} | {f"{profile.name}.md": page(profile, floors) for profile in profiles}


def write_pages(folder: Path) -> None:
    """Write the pages into `folder`, which is made when needed; other files there are left."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def stale(folder: Path) -> tuple[str, ...]:
    """Return the names of the pages that are missing there or say something else than the profiles do."""
    kept = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return tuple(name for name, text in pages().items() if kept.get(name) != text)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        old = stale(Path(sys.argv[2]))
        sys.exit(
            f"{sys.argv[2]}: not as the profiles are: {', '.join(old)}; run: python -m edgeopt.cli.profile_pages {sys.argv[2]}"
            if old
            else 0
        )
    if len(sys.argv) != 2:
        sys.exit("usage: python -m edgeopt.cli.profile_pages [--check] DIR")
    write_pages(Path(sys.argv[1]))
