"""A block on a phone: a fresh process of the user's program, and the conditions before and after it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from edgeopt.errors import LinkTimeout
from edgeopt.measure.phone import scripts
from edgeopt.measure.phone.answers import Row, Signature, compared, signature_of, split_answers
from edgeopt.measure.phone.feeds import Feeds
from edgeopt.measure.phone.reading import observed
from edgeopt.measure.phone.results import Ending, doubts, ending, failed, judged
from edgeopt.measure.phone.shell import Shell
from edgeopt.measure.phone.tools import Run, Tool, arguments, mask
from edgeopt.transport.link import Link
from edgeopt_agent import conditions, steady
from edgeopt_agent.calm import CoolDown, Reference
from edgeopt_agent.errors import AgentError, printable

MAX_ANSWERS = 8
"""Samples whose answers a phone gives: each is a process of its own, with its model loaded anew."""
_TICKS_PER_S = 100
"""Of every Android kernel's user interface (USER_HZ)."""
_SHORTEST_S = 0.01
_LOOK_S = 1.0
_UNTOLD = "{} does not give the network's answers, so those of this phone were not compared with the original's"

Job = dict[str, Any]
Result = dict[str, Any]


class ToolThere(msgspec.Struct, frozen=True, kw_only=True):
    """A program on the phone: what it is, where, the folder of its libraries, and whether it can write answers."""

    tool: Tool
    program: str
    folder: str
    version: str
    key: str
    answers: bool


class Bench:
    """What stays the same over all blocks of a session.

    Args:
        shell: the phone's.
        link: to it.
        scratch: a folder there for this session alone.
        cores: how many there are.
    """

    def __init__(self, shell: Shell, link: Callable[[], Link], scratch: str, cores: int) -> None:
        self._shell = shell
        self._scratch = scratch
        self._cores = cores
        self._feeds = Feeds(shell, link, scratch)
        self._reference: Reference | None = None
        self._pace_s: dict[str, float] = {}
        self.signature: Signature | None = None

    def timed(self, job: Job, there: ToolThere) -> Result:
        """Run a block of mode `time`; returns a block result of the wire."""
        if job["scenario"]["name"] != "single-stream":
            what = f"{there.tool.name} runs one inference after the other and knows no other scenario"
            return failed("error", "load", what)
        before, waited_s, is_reset = self._calm(job["cool_down"])
        run = msgspec.structs.replace(
            self._run_of(job, there),
            min_s=max(job["min_s"], _SHORTEST_S),
            max_s=job["max_s"],
            inferences=job["min_inferences"],
            warmup_s=job["warmup_min_s"],
            warmups=max(1, job["warmup_min_inferences"]),
        )
        begun = time.monotonic_ns()
        found = self._execute(run, there, job)
        record: Result = {"conditions_before": before, "wall_ns": time.monotonic_ns() - begun}
        after = record["conditions_after"] = self._observe("first")
        flags = conditions.flags(before, after, own_cpu_s=found.cpu_s, ticks_per_s=_TICKS_PER_S)
        flags += ["throttled"] if _throttles(before) or _throttles(after) else []
        flags += [] if is_reset or not job["cool_down"]["max_s"] else ["not-reset"]
        if found.reading is None:
            return found.failure | record | {"flags": list(dict.fromkeys(flags))}
        flags += doubts(found.reading)
        flags += ["provider-fallback"] if found.reading.provider_used not in (None, job["setting"]["provider"]) else []
        record |= {"cool_down_s": round(waited_s, 3), "runtime_version": there.version}
        return judged(found.reading, there.tool) | record | {"flags": list(dict.fromkeys(flags))}

    def answers(self, job: Job, there: ToolThere) -> Result:
        """Run a block of mode `outputs`: the phone's own answers, or why they cannot be had; in each case the network ran there."""
        if not there.answers or self.signature is None:
            found = self._execute(self._run_of(job, there), there, job)
            told = {"status": "ok", "samples": 0, "unchecked": _UNTOLD.format(there.tool.name)}
            return found.failure if found.reading is None else told | {"runtime_version": there.version}
        rows: list[Row] = []
        for number in range(min(MAX_ANSWERS, job["limit_samples"], len(self._feeds.rows(job["inputs"])))):
            row, failure = self._answer(job, there, number, self.signature)
            if row is None:
                return failure
            rows.append(row)
        return {
            "status": "ok",
            "samples": len(rows),
            "file": self._feeds.kept(rows),
            "runtime_version": there.version,
            "placement_reason": f"{there.tool.name} does not tell where each node ran",
        }

    def health(self, folder: str, manifest: dict[str, Any], there: ToolThere, timeout_s: float) -> Result:
        """Let a release answer its own probe inputs, or at least run, where its program does not give answers.

        Raises:
            AgentError: health-check-failed.
        """
        begun, probe = time.monotonic(), manifest["probe"]
        job = {
            "setting": manifest["setting"],
            "model": f"{folder}/{manifest['model']}",
            "timeout_s": timeout_s,
            "inputs": f"{folder}/{probe['inputs']}",
        }
        try:
            network = signature_of(manifest["inputs"], manifest["outputs"])
        except (KeyError, ValueError) as error:
            raise _unwell(f"its manifest does not say what it takes and gives: {error}") from error
        self.signature = self.signature or network
        if probe["outputs"] is None:
            found = self._execute(self._run_of(job, there), there, job)
            if found.reading is None:
                raise _unwell(found.failure["failure"]["detail"])
            worst, samples = None, 0
        else:
            worst, samples = self._compare(job, there, network, probe, f"{folder}/{probe['outputs']}")
        ms = 1000 * (time.monotonic() - begun)
        return {"ok": True, "max_abs_error": worst, "samples": samples, "ms": ms}

    def _compare(
        self, job: Job, there: ToolThere, network: Signature, probe: dict[str, Any], expected: str
    ) -> tuple[float, int]:
        """Return the largest difference and over how many samples. Raises AgentError when one is too large."""
        worst, wanted = 0.0, self._feeds.rows(expected)
        for number, row in enumerate(wanted):
            mine, failure = self._answer(job, there, number, network)
            if mine is None:
                raise _unwell(failure["failure"]["detail"])
            error, problem = compared(mine, row, rtol=probe["rtol"], atol=probe["atol"])
            if problem is not None:
                raise _unwell(f"it answers otherwise: {problem}")
            worst = max(worst, error)
        return worst, len(wanted)

    def _answer(self, job: Job, there: ToolThere, number: int, network: Signature) -> tuple[Row | None, Result]:
        """Return one sample's answers, or None and the failure."""
        target = f"{self._scratch}/{secrets.token_hex(8)}.bin"
        run = msgspec.structs.replace(self._run_of(job, there, number), answers=target)
        found = self._execute(run, there, job)
        if found.reading is None:
            return None, found.failure
        row, problem = split_answers(self._feeds.taken(target), network, self._feeds.rows(job["inputs"])[number])
        return row, failed("bad-output", "outputs", problem or "")

    def _execute(self, run: Run, there: ToolThere, job: Job) -> Ending:
        """Run the program to its end."""
        try:
            words = arguments(there.tool, run, job["setting"])
        except ValueError as error:
            return Ending(failure=failed("error", "load", str(error)))
        cores, limit_s = mask(job["setting"].get("affinity") or ()), float(job["timeout_s"])
        try:
            parts = self._shell.parts(scripts.BLOCK, cores, run.result, there.folder, *words, deadline_s=limit_s)
        except LinkTimeout:
            # The program is dead. A phone that is gone, too, is noticed by whatever is asked of it next.
            return Ending(failure=failed("timeout", "timed", f"no end within {limit_s:g} s"))
        found = ending(parts, there.tool)
        if found.reading is not None:
            self._pace_s[job["model"]] = steady.median(found.reading.latencies_ns) / 1e9
        return found

    def _run_of(self, job: Job, there: ToolThere, sample: int = 0) -> Run:
        """One inference."""
        setting = job["setting"]
        names = [spec.name for spec in self.signature.inputs] if self.signature else []
        folder, inputs = self._feeds.bring(there.tool, job["model"], job["inputs"], sample, names)
        return Run(
            program=there.program,
            model=f"{folder}/{job['model'].rpartition('/')[2]}",
            threads=setting.get("threads") or len(setting.get("affinity") or ()) or self._cores,
            result=f"{self._scratch}/result.csv",
            min_s=0.0,
            max_s=float(job["timeout_s"]),
            inferences=1,
            inputs=inputs,
            pace_s=self._pace_s.get(job["model"]),
        )

    def _observe(self, when: str) -> dict[str, Any]:
        return observed(self._shell.parts(scripts.READ, "", when))

    def _calm(self, plan: dict[str, Any]) -> tuple[dict[str, Any], float, bool]:
        """Wait until the phone is as cool as when the session began, at most so long; returns the conditions then, how long it took, whether it is."""
        limits = CoolDown(max_s=plan["max_s"], margin_c=plan.get("margin_c", 3.0), canary_ratio=1.0)
        begun, waited_s = time.monotonic(), 0.0
        while True:
            now = self._observe("last")
            degrees = now.get("temperature_c")
            self._reference = self._reference or Reference(degrees, 1)
            # There is no canary on a phone: its heat alone tells.
            verdict = limits.verdict(time.monotonic() - begun, self._reference.excess_c(degrees), 1.0)
            if verdict is not None:
                return now, waited_s, verdict
            time.sleep(_LOOK_S)
            waited_s = time.monotonic() - begun


def _throttles(observed_: dict[str, Any]) -> bool:
    """Android's thermal status above none (0): it holds the phone back, at first lightly."""
    return bool(observed_.get("thermal_status"))


def _unwell(detail: str) -> AgentError:
    return AgentError("health-check-failed", f"the release does not run as it was measured: {printable(detail)}")
