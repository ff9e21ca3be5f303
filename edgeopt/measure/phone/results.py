"""From what came back of one process of a program to a block result of the wire. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeopt.measure.phone.shell import Part, count
from edgeopt.measure.phone.tools import BENCHMARK_MODEL, Reading, Tool, read
from edgeopt_agent import steady, watch
from edgeopt_agent.block import Output, name_end
from edgeopt_agent.errors import printable

_TIMES = re.compile(r"(\d{1,6})m(\d{1,4}(?:\.\d{1,6})?)s")
_NOT_STARTED = (126, 127)
_MOST = 255
_SIGNALS = range(129, 160)
"""128 and the number: what a shell says of a command that a signal ended. 255 is a program's own -1."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended: what it told, or a failed block result; its CPU time in seconds."""

    reading: Reading | None = None
    failure: dict[str, Any] = {}
    cpu_s: float = 0.0


def ending(parts: Sequence[Part], tool: Tool) -> Ending:
    """Read the answer of the script `BLOCK`, which ran this program."""
    texts = {part.words[0]: part.text for part in parts}
    said, cpu_s = texts.get("said", ""), cpu_seconds(texts.get("times", ""))
    code = _exit_code(parts)
    failure = _failure(code, said, tool)
    if failure is not None:
        return Ending(failure=failure, cpu_s=cpu_s)
    reading = read(tool, said, texts.get("result", ""))
    if reading is None:
        return Ending(
            failure=failed("error", "timed", f"{tool.name} ended without its figures: {_last(said)}"), cpu_s=cpu_s
        )
    return Ending(reading=reading, cpu_s=cpu_s)


def _exit_code(parts: Sequence[Part]) -> int:
    words = next((part.words for part in parts if part.words[0] == "exit"), ())
    code = count(words[1]) if len(words) > 1 else None
    return 1 if code is None or code > _MOST else code


def _failure(code: int, said: str, tool: Tool) -> dict[str, Any] | None:
    if code == 0:
        return None
    if code in _NOT_STARTED:
        return failed("runtime-missing", "import", f"{tool.name} cannot be started: {_last(said)}")
    output = Output()
    output.add(said.encode())
    number = -(code - 128) if code in _SIGNALS else code
    ended = name_end(number, "timed", output, is_late=False, timeout_s=0.0, was_oom=False)
    return {"status": "failed", "failure": ended}


def failed(kind: str, phase: str, detail: str) -> dict[str, Any]:
    """Return a block result that says what went wrong."""
    return {"status": "failed", "failure": {"kind": kind, "phase": phase, "detail": printable(detail)}}


def _last(text: str) -> str:
    found = [line for line in text.splitlines() if line.strip()]
    return printable(found[-1], limit=200) if found else "it says nothing"


def cpu_seconds(text: str) -> float:
    """Read the shell's `times`: two lines, its own and its children's, user and system each."""
    return sum(60.0 * int(minutes) + float(rest) for minutes, rest in _TIMES.findall(text)[:4])


def doubts(reading: Reading) -> list[str]:
    """Say what of single latencies casts doubt on them; of a value that stands for all, nothing can be said."""
    if reading.latencies_are != "each":
        return []
    found = ["stopped"] if watch.has_stall(reading.latencies_ns, 1) else []
    return found + (["unsteady"] if steady.judge(reading.latencies_ns).is_steady is False else [])


def judged(reading: Reading, tool: Tool) -> dict[str, Any]:
    """Return a reading as a block result; warm-up that is among the latencies is told apart."""
    record: dict[str, Any] = {
        "status": "ok",
        "latencies_are": reading.latencies_are,
        "inferences": reading.inferences,
        "load_ns": reading.load_ns,
        "first_ns": reading.first_ns,
        "peak_rss_bytes": reading.peak_rss_bytes,
        "provider_used": reading.provider_used,
        "feeds": 1 if tool is BENCHMARK_MODEL else 0,
        "latencies_ns": reading.latencies_ns,
    }
    if reading.latencies_are != "each":
        why = f"{tool.name} tells the {reading.latencies_are} of a block's inferences, not each"
        return record | {"steady": None, "steady_reason": why}
    found = steady.judge(reading.latencies_ns)
    cut = found.cut if found.is_steady else 0
    return record | {
        "warmup_ns": reading.latencies_ns[:cut],
        "latencies_ns": reading.latencies_ns[cut:],
        "steady": found.is_steady,
        "steady_reason": found.reason,
        "inferences": len(reading.latencies_ns) - cut,
    }
