"""The confined child: shut the doors, do one task of the table, write the answer.

Only the standard library is imported before the limits stand. The caller's side is `confine`, which starts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

TASKS = {
    "explain": ("edgeopt.compiler.explaining", "explain_task"),
    "inspect": ("edgeopt.compiler.inspecting", "inspect_task"),
    "build": ("edgeopt.compiler.building", "build_task"),
    "import_model": ("edgeopt.compiler.convert.from_torch.importing", "import_task"),
    "tokenize": ("edgeopt.compiler.tokenizing", "tokenize_task"),
    "run_model": ("edgeopt.compiler.running", "run_model_task"),
    "draw_text": ("edgeopt.compiler.drawing_text", "draw_text_task"),
    "fit_pictures": ("edgeopt.compiler.train.statistics", "fit_pictures_task"),
}
"""Everything that a child can be asked for: function(request, workdir, limits) -> answer, all JSON-able."""

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
NICE = 5
MAX_OPEN_FILES = 256
FILE_OVERHEAD_BYTES = 64 << 10
"""Headers and tables of contents around what counts as output."""


def main() -> None:
    """Read the order from stdin, do it, write `answer.json` into the scratch folder."""
    order = json.loads(sys.stdin.buffer.read())
    network = _shut_doors(order["limits"], order["parent"], network=bool(order.get("network")))
    started = time.monotonic()
    scratch = Path(order["scratch"])
    answer = _perform(order["task"], order["request"], scratch, order["limits"])
    answer["confinement"] = {
        "peak_memory_bytes": _peak_memory_bytes(),
        "wall_s": round(time.monotonic() - started, 3),
        "network": network,
    }
    temporary = scratch / "answer.tmp"
    temporary.write_text(json.dumps(answer))
    temporary.replace(scratch / "answer.json")


def _perform(task: str, request: dict[str, Any], scratch: Path, limits: dict[str, Any]) -> dict[str, Any]:
    """Run the task; what it raises becomes a failure in words. The full traceback goes to the log (stderr)."""
    from edgeopt.compiler.refuse import Refused, TooLarge, out_of_memory, shorten

    module, name = TASKS[task]
    try:
        result: dict[str, Any] = getattr(importlib.import_module(module), name)(request, scratch, limits)
    except Refused as refused:
        return _failure("refused", str(refused), refused.code)
    except TooLarge as error:
        return _failure("too-large", str(error))
    except OSError as error:
        sys.excepthook(type(error), error, error.__traceback__)
        if error.errno == errno.EFBIG:
            return _failure("too-large", "it wrote too large a file")
        return _failure("error", error.strerror or str(error))
    except Exception as error:  # noqa: BLE001 - foreign libraries raise anything; this is their seam
        sys.excepthook(type(error), error, error.__traceback__)
        return _failure("memory" if out_of_memory(error) else "error", shorten(str(error)) or type(error).__name__)
    return result


def _failure(kind: str, detail: str, code: str | None = None) -> dict[str, Any]:
    return {"failure": {"kind": kind, "detail": detail, "code": code}}


def _shut_doors(limits: dict[str, Any], parent: int, *, network: bool) -> str:
    """Limits first, then the network, then the tie to the parent (a change of credentials would undo that one)."""
    memory, output = int(limits["memory_bytes"]), int(limits["output_bytes"])
    # RLIMIT_DATA and not RLIMIT_AS: threads and allocators reserve addresses that they never touch.
    for what, value in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, output + output // 16 + FILE_OVERHEAD_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        _limit(what, value)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    found = "shared: the user's own code may need it" if network else _leave_network(libc)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    return found


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


def _leave_network(libc: ctypes.CDLL) -> str:
    """Enter an empty network name space. Without root that takes a user name space, which some kernels refuse."""
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(flags) != 0:
        return f"shared: {os.strerror(ctypes.get_errno())}"
    if flags & CLONE_NEWUSER:
        # Only looks are at stake (the kernel goes by its own numbers), so a refusal is no failure.
        with contextlib.suppress(OSError):
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return "none"


def _peak_memory_bytes() -> int | None:
    """VmHWM: the process's own peak (ru_maxrss would count what the parent had at the fork)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
