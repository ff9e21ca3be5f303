"""Command line of the agent: `serve` talks with a host, `block-child` is the process of one block, `version` says what this is."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Run as a folder (`python3 edgeopt_agent serve`): the package is importable from its parent.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def main() -> int:
    """Run one command; returns the exit code."""
    if sys.argv[1:2] == ["block-child"] and len(sys.argv) == 3:
        # Not by argparse: its memory would be counted as the runtime's.
        from edgeopt_agent.child import main as run_child

        return run_child(int(sys.argv[2]))
    options = _parse()
    if options.command == "version":
        from edgeopt_agent import PROTOCOL, __version__

        sys.stdout.write(f"edgeopt-agent {__version__}, protocol {PROTOCOL}\n")
        return 0
    return _serve(options)


def _parse() -> Namespace:
    import argparse

    parser = argparse.ArgumentParser(prog="edgeopt-agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve | block-child | version")
    serve = commands.add_parser("serve", help="talk frames on the standard streams")
    serve.add_argument("--root", required=True, help="the device tree")
    serve.add_argument("--sentinel", required=True, help="32 hex digits that precede the first frame")
    serve.add_argument("--ephemeral", action="store_true", help="remove the root at the end")
    serve.add_argument("--runtimes", help="another root's runtimes, read only")
    serve.add_argument("--sysfs-root", default="/", help="where power sensors are looked for; another folder in tests")
    commands.add_parser("version", help="say version and protocol")
    child = commands.add_parser("block-child", help="one block; started by serve only")
    child.add_argument("reply", type=int, metavar="DESCRIPTOR")
    options = parser.parse_args()
    if options.command == "serve":
        _check(parser.error, options)
    return options


def _check(refuse: object, options: Namespace) -> None:
    assert callable(refuse)  # noqa: S101 - argparse's error
    if len(options.sentinel) != 32 or set(options.sentinel) - set("0123456789abcdef"):
        refuse("--sentinel: wanted 32 lower-case hex digits")
    for name in ("root", "runtimes", "sysfs_root"):
        value = getattr(options, name)
        if value is None:
            continue
        path = os.path.expanduser(value)
        if not os.path.isabs(path):
            refuse(f"--{name.replace('_', '-')}: {value} is not absolute, or this login has no home folder")
        setattr(options, name, os.path.normpath(path))


def _serve(options: Namespace) -> int:
    from edgeopt_agent import serve
    from edgeopt_agent.tree import Tree

    if options.ephemeral:
        from edgeopt_agent import janitor

        problem = janitor.why_not(options.root)
        if problem is not None:
            sys.stderr.write(f"edgeopt-agent: --ephemeral: {problem}\n")
            return 2
        janitor.start(options.root)
    reader, writer = serve.take_streams()
    tree = Tree(options.root, options.runtimes)
    server = serve.Server(reader, writer, tree, ephemeral=options.ephemeral, sysfs_root=options.sysfs_root)
    return server.run(options.sentinel)


if __name__ == "__main__":
    sys.exit(main())
