"""Which release an app runs, and which it ran before: `current` is the truth, `state.json` is the history that rollback goes by, `previous` follows from both.

The switch has one commit point, the rename of `current`. Everything before it can be dropped, everything after it can be derived, so that a cut anywhere heals.
"""

from __future__ import annotations

import json
import os

from edgeopt_agent import digests, release
from edgeopt_agent.arguments import is_digest, is_name
from edgeopt_agent.clock import utc_now
from edgeopt_agent.tree import fsync_folder, names, point, remove_file, remove_leftovers, remove_tree, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgeopt_agent.tree import Tree

    Entry = dict[str, Any]

_SCHEMA = 1
_MAX_HISTORY = 50
_MAX_STATE_BYTES = 1 << 20


class App:
    """The folder of one app.

    Args:
        tree: the device tree.
        name: a plain name.
    """

    def __init__(self, tree: Tree, name: str) -> None:
        self.name = name
        self.folder = os.path.join(tree.apps, name)
        self.releases = os.path.join(self.folder, "releases")
        self._state = os.path.join(self.folder, "state.json")

    def release(self, digest: str) -> str:
        """Return the folder of a release."""
        return os.path.join(self.releases, digest)

    def current(self) -> str | None:
        """Return the digest that `current` names; None when there is no such link."""
        return self._target("current")

    def linked_previous(self) -> str | None:
        """Return the digest that `previous` names."""
        return self._target("previous")

    def _target(self, link: str) -> str | None:
        try:
            digest = os.path.basename(os.readlink(os.path.join(self.folder, link)))
        except OSError:
            return None
        return digest if is_digest(digest) else None

    def history(self) -> list[Entry]:
        """Return what was activated, newest last; empty when the file is absent or damaged."""
        try:
            with open(self._state, "rb") as stream:
                state = json.loads(stream.read(_MAX_STATE_BYTES))
        except (OSError, ValueError):
            return []
        entries = state.get("history") if isinstance(state, dict) and state.get("schema") == _SCHEMA else None
        return (
            [e for e in entries if isinstance(e, dict) and is_digest(e.get("digest"))]
            if isinstance(entries, list)
            else []
        )

    def previous(self) -> str | None:
        """Return where a rollback would go: the newest release of the history that is not current and is whole."""
        current = self.current()
        for entry in reversed(self.history()):
            if entry["digest"] != current and release.is_whole(self.release(entry["digest"])):
                return str(entry["digest"])
        return None

    def switch(self, digest: str, by: dict[str, Any] | None) -> None:
        """Make a release current. It is whole, and durable, before this is called.

        Args:
            digest: the release.
            by: who asked for it.
        """
        entry = {"digest": digest, "activated_at": utc_now(), "by": by}
        self._write_history([*self.history(), entry])
        point(os.path.join(self.folder, "current"), f"releases/{digest}")
        self._follow()

    def _write_history(self, entries: list[Entry]) -> None:
        write_file(self._state, digests.canonical({"schema": _SCHEMA, "history": entries[-_MAX_HISTORY:]}))

    def _follow(self) -> None:
        """Let `previous` say what the history says."""
        wanted = self.previous()
        if wanted == self.linked_previous():
            return
        if wanted is None:
            remove_file(os.path.join(self.folder, "previous"))
            fsync_folder(self.folder)
        else:
            point(os.path.join(self.folder, "previous"), f"releases/{wanted}")

    def heal(self) -> None:
        """Bring the folder to a state that a switch leaves, after a cut anywhere in one."""
        remove_leftovers(self.folder, is_exclusive=True)
        for folder, _, _ in os.walk(self.releases):
            remove_leftovers(folder, is_exclusive=True)
        current = self.current()
        for digest in names(self.releases):
            # What is current is never removed: an app that runs on from a damaged folder is better off than one with none; installing again repairs it.
            if digest != current and not release.is_whole(self.release(digest)):
                remove_tree(self.release(digest))
        entries = self.history()
        became_current = true_history(entries, current)
        if became_current != entries:
            self._write_history(became_current)
        self._follow()


def true_history(entries: list[Entry], current: str | None) -> list[Entry]:
    """Return the history without entries that never became current: those after the last one that is."""
    known = [number for number, entry in enumerate(entries) if entry["digest"] == current]
    if known:
        return entries[: known[-1] + 1]
    # The history was lost, or cut; what is current is known all the same.
    return [] if current is None else [*entries, {"digest": current, "activated_at": None, "by": None}]


def all_apps(tree: Tree) -> list[App]:
    """Return the apps that have a folder."""
    return [App(tree, name) for name in names(tree.apps) if is_name(name)]
