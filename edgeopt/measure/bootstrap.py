"""Put the agent on a device that has nothing but Python, with one or two short commands.

A few lines of Python are sent as the argument of `python3 -c`: they find the root folder, say which Python this is, and say whether the agent is already
there under its own hash. When it is not, the same lines get the agent on stdin, verify its hash, and rename it into place. The lines run on any Python from 2.7 on, so
that an old one can be named instead of guessed.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

import msgspec

from edgeopt.domain.device import Device
from edgeopt.errors import AgentError, DeviceError, DiskFull, LinkError, PythonMissing, ReadOnly
from edgeopt.transport.link import Completed, Link

AGENT_FLOOR = (3, 8)
"""The oldest Python that the agent runs on."""

PYTHON_NAMES = ("python3", "python3.13", "python3.12", "python3.11", "python3.10", "python3.9", "python3.8", "python")
"""Interpreters looked for on the device, in this order, unless the device names one."""

_SCRIPT = r"""
import sys, os, json, hashlib
mark, root, want, size, ephemeral = sys.argv[1:6]
out = {"python": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable}
def fsync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    try: os.fsync(fd)
    finally: os.close(fd)
def main():
    if sys.version_info < (3, 8):
        out["error"] = "python-too-old"
        return
    global root
    base = os.path.expanduser(root)
    if not os.path.isabs(base):
        out["error"] = "no-home"
        return
    if ephemeral == "1":
        import tempfile
        out["persistent"] = base
        base = tempfile.mkdtemp(prefix="edgeopt-")
    elif ephemeral != "0":
        out["persistent"] = base
        base = ephemeral
    out["root"] = base
    folder = os.path.join(base, "agent")
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, want + ".pyz")
    out["path"] = path
    if int(size):
        data = sys.stdin.buffer.read(int(size))
        if hashlib.sha256(data).hexdigest() != want:
            out["error"] = "digest-mismatch"
            return
        temporary = os.path.join(folder, ".tmp-" + mark)
        try:
            with open(temporary, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except OSError:
            if os.path.exists(temporary): os.unlink(temporary)
            raise
        fsync_dir(folder)
    try:
        with open(path, "rb") as f:
            out["have"] = hashlib.sha256(f.read(1 << 20)).hexdigest() == want
    except OSError:
        out["have"] = False
try:
    main()
except (IOError, OSError) as e:
    out["error"] = "os"
    out["errno"] = e.errno
    out["message"] = str(e)
sys.stdout.write("\n" + mark + json.dumps(out) + "\n")
sys.stdout.flush()
"""


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """The agent on a device: how to start it, and what was sent to get it there."""

    python: str
    python_version: str
    path: str
    root: str
    persistent_root: str | None
    bytes_sent: int


def land_agent(link: Link, device: Device, agent: bytes, digest: str, *, ephemeral: bool) -> Landed:
    """Make sure that the agent is on the device.

    Args:
        link: the way to the device.
        device: which Python to use and where the tree is.
        agent: the zipapp.
        digest: its sha256 in hex.
        ephemeral: use a fresh folder that the agent removes when it ends.

    Raises:
        PythonMissing: no Python there, or one that is too old.
        DiskFull, ReadOnly, AgentError: the folder cannot be written.
        LinkError: the way broke.
    """
    python, first = _find_python(link, device, digest, ephemeral="1" if ephemeral else "0")
    if first.get("have"):
        return _landed(python, first, sent=0)
    # The second call uses the folder that the first one made.
    again = first["root"] if ephemeral else "0"
    reply = _ask(link, python, device.root, digest, size=len(agent), stdin=agent, ephemeral=again)
    if reply is None:
        msg = f"{device.name}: the agent could not be put in place: {python} gave no answer"
        raise AgentError(msg)
    _refuse(reply, device)
    if not reply.get("have"):
        msg = f"{device.name}: the agent was sent to {reply.get('path')} but is not there"
        raise AgentError(msg, hint="Check the disk of the device.")
    return _landed(python, reply, sent=len(agent))


def _landed(python: str, reply: dict[str, Any], *, sent: int) -> Landed:
    return Landed(
        python=python,
        python_version=reply["python"],
        path=reply["path"],
        root=reply["root"],
        persistent_root=reply.get("persistent"),
        bytes_sent=sent,
    )


def _find_python(link: Link, device: Device, digest: str, *, ephemeral: str) -> tuple[str, dict[str, Any]]:
    names = (device.python,) if device.python else _usual_names(device)
    too_old: dict[str, Any] | None = None
    for name in names:
        reply = _ask(link, name, device.root, digest, size=0, stdin=b"", ephemeral=ephemeral)
        if reply is None:
            continue
        if reply.get("error") == "python-too-old":
            too_old = too_old or reply
            continue
        _refuse(reply, device)
        return name, reply
    floor = ".".join(map(str, AGENT_FLOOR))
    if too_old is not None:
        raise PythonMissing(
            f"{device.name}: the newest Python found there is {too_old['python']} ({too_old['executable']}), edgeopt's agent needs {floor} or newer",
            hint="Install a newer one there: on Ubuntu 18.04 and JetPack 4, sudo apt install python3.8, which edgeopt then finds by itself. "
            f"Or name one: edgeopt device add {device.name} --python /path/to/python3 ... --replace",
            code="python-too-old",
        )
    looked = ", ".join(n for n in names if n)
    raise PythonMissing(
        f"{device.name}: no Python found there (looked for {looked})",
        hint=f"On Debian and Raspberry Pi OS: sudo apt install python3. Or name one: edgeopt device add {device.name} --python /path/to/python3 ... --replace",
    )


def _usual_names(device: Device) -> tuple[str, ...]:
    # On this computer the interpreter that runs edgeopt is known to work, and has a runtime beside it.
    return (sys.executable, *PYTHON_NAMES) if device.address.startswith("local:") else PYTHON_NAMES


def _ask(
    link: Link, python: str, root: str, digest: str, *, size: int, stdin: bytes, ephemeral: str
) -> dict[str, Any] | None:
    mark = secrets.token_hex(16)
    # -I: nothing of the login's PYTHON* variables or the current folder takes part. -B: no .pyc files are left.
    argv = [python, "-I", "-B", "-c", _SCRIPT, mark, root, digest, str(size), ephemeral]
    done = link.run(argv, stdin, 60.0)
    reply = _find_reply(done, mark)
    if reply is None and done.exit_code not in (126, 127):
        # Python 2 has no -I; and a broken interpreter is not a missing one.
        done = link.run([python, "-c", _SCRIPT, mark, root, digest, str(size), ephemeral], stdin, 60.0)
        reply = _find_reply(done, mark)
        if reply is None and done.exit_code not in (126, 127):
            tail = done.stderr[-400:].decode("utf-8", "replace").strip()
            msg = f"{python} on the device does not work (exit code {done.exit_code}): {_printable(tail) or 'it says nothing'}"
            raise PythonMissing(msg, hint="Try it there by hand: python3 -c 'print(1)'", code="python-broken")
    return reply


def _find_reply(done: Completed, mark: str) -> dict[str, Any] | None:
    """Login shells print things before and after: only what follows the mark counts."""
    _, found, rest = done.stdout.partition(mark.encode())
    if not found:
        return None
    try:
        reply = json.loads(rest.split(b"\n", 1)[0])
    except ValueError as error:
        msg = "what the device answered was cut short"
        raise LinkError(msg) from error
    return reply if isinstance(reply, dict) else None


def _refuse(reply: dict[str, Any], device: Device) -> None:
    kind = reply.get("error")
    if kind is None:
        return
    detail = _printable(str(reply.get("message", "")))
    if kind == "no-home":
        raise DeviceError(
            f"{device.name}: the login has no home folder, so {device.root} means nothing there",
            hint=f"Name a folder: edgeopt device add {device.name} --root /var/lib/edgeopt ... --replace",
        )
    if kind == "os" and reply.get("errno") in (28, 122):  # ENOSPC, EDQUOT
        raise DiskFull(f"{device.name}: no room for the agent: {detail}", hint="Free some space there and try again.")
    if kind == "os" and reply.get("errno") in (30, 13, 1):  # EROFS, EACCES, EPERM
        raise ReadOnly(
            f"{device.name}: {device.root} cannot be written: {detail}",
            hint=f"Remount it writable, or name another folder: edgeopt device add {device.name} --root ... --replace",
        )
    raise AgentError(f"{device.name}: the agent could not be put in place ({kind}): {detail}")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
