"""What an agent does when it starts: finish or drop what a power cut, a full disk or a killed agent left behind."""

from __future__ import annotations

import os

from edgeopt_agent.tree import is_abandoned, names, point, remove_leftovers, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgeopt_agent.session import Session
    from edgeopt_agent.tree import Tree

AGENT_LINK = "edgeopt_agent.pyz"


def heal(tree: Tree) -> None:
    """Bring the tree to a state without cuts. The caller has the lock, so that nobody is in the middle of a switch."""
    from edgeopt_agent.app_state import all_apps

    for app in all_apps(tree):
        app.heal()
    remove_leftovers(tree.runtimes, is_exclusive=True)
    for folder in (tree.root, tree.agent, tree.staged):
        # Probing, starting and staging need no lock.
        remove_leftovers(folder, is_exclusive=False)
    for key in names(tree.runtimes):
        if not os.path.exists(os.path.join(tree.runtimes, key, "runtime.json")):
            remove_tree(os.path.join(tree.runtimes, key))
    for name in names(tree.scratch):
        if is_abandoned(os.path.join(tree.scratch, name), name):
            remove_tree(os.path.join(tree.scratch, name))


def heal_unless_busy(session: Session) -> None:
    """Heal if no other session has the device; one that has it is healing, or healed, itself."""
    if not os.path.isdir(session.tree.root):
        return
    held = session.lock.try_briefly()
    if held:
        try:
            heal(session.tree)
        finally:
            session.lock.release(held)


def link_agent(tree: Tree, archive: str | None) -> None:
    """Let applications import this agent under a name that stays: agent/edgeopt_agent.pyz."""
    if archive is None or os.path.dirname(os.path.realpath(archive)) != os.path.realpath(tree.agent):
        return
    link, target = os.path.join(tree.agent, AGENT_LINK), os.path.basename(archive)
    if not os.path.islink(link) or os.readlink(link) != target:
        point(link, target)
