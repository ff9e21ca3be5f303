"""The process of one block: import the runtime, load the model, first inference, warm-up, timed inferences; or outputs; or a check against expected ones.

It says on a pipe of its own which phase it enters, so that its death can be named, and sends one result. The measuring loop is in `timing`.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from array import array

from edgeopt_agent import watch
from edgeopt_agent.errors import BlockFailed, printable
from edgeopt_agent.probes import memory, put
from edgeopt_agent.runtimes import open_runtime, with_user_packages
from edgeopt_agent.scenarios import run_scenario
from edgeopt_agent.setting import pin
from edgeopt_agent.timing import Plan
from edgeopt_agent.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgeopt_agent.runtimes import LoadedModel, Runtime

MAX_LATENCIES = 20_000
_MAX_WARMUP = 2_000
_MAX_FEED_BYTES = 16 << 20
"""Samples held in memory while timing: they are part of the process's peak."""
_OOM_SCORE = 800
"""When memory runs out the kernel takes this process, not the agent."""
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "failed to allocate memory", "cannot allocate memory", "out of memory")
_PR_SET_PDEATHSIG = 1


class Reply:
    """The pipe to the agent. Remembers the phase."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self.phase = "import"

    def enter(self, phase: str) -> None:
        """Say that a phase begins."""
        self.phase = phase
        self.send({"phase": phase})

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame."""
        view = memoryview(encode(message))
        while view:
            view = view[os.write(self._descriptor, view) :]


def main(descriptor: int) -> int:
    """Run the job on stdin and reply on `descriptor`. A failure is a reply, too."""
    reply = Reply(descriptor)
    job = json.loads(sys.stdin.buffer.read())
    _confine(job["agent_pid"], job["memory_bytes"])
    try:
        reply.send({"result": run(job, reply)})
    except BlockFailed as error:
        _fail(reply, error.kind, str(error))
    except MemoryError:
        _fail(reply, "memory", "MemoryError")
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is a result of the block
        _fail(reply, *_classify(error, reply.phase))
    return 0


def _fail(reply: Reply, kind: str, detail: str) -> None:
    reply.send({"failure": {"kind": kind, "phase": reply.phase, "detail": printable(detail, limit=600)}})


def _classify(error: Exception, phase: str) -> tuple[str, str]:
    first_line = str(error).strip().split("\n", 1)[0]
    text = f"{type(error).__name__}: {first_line}"
    if any(word in text.lower() for word in _OUT_OF_MEMORY):
        return "memory", text
    return ("runtime-missing" if isinstance(error, ImportError) and phase == "import" else "error"), text


def _confine(agent_pid: int, memory_bytes: int | None) -> None:
    import resource

    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # a Python without ctypes: the agent still kills its children when its channel ends
    if os.getppid() != agent_pid:
        os._exit(1)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
            stream.write(str(_OOM_SCORE))
    except OSError:
        pass
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def run(job: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """Do what the job says; returns the result that the wire describes, less what the agent adds."""
    reply.enter("import")
    pin(job["setting"].get("affinity", []))  # before anything can start a thread
    runtime = open_runtime(job["runtime"])
    _set_path(job["site"])
    version = runtime.version()
    result: dict[str, Any] = {"runtime_version": version}
    if job["mode"] == "probe":
        return {**result, "providers": runtime.providers()}
    result["runtime_rss_bytes"] = memory.own_peak_bytes()
    modes: dict[str, Callable[[dict[str, Any], Reply, Runtime], dict[str, Any]]] = {
        "time": _time,
        "outputs": _outputs,
        "check": _check,
        "energy": _energy,
        "sustained": _sustained,
    }
    return {**result, **modes[job["mode"]](job, reply, runtime)}


def _set_path(site: str | None) -> None:
    if site is None:
        sys.path[:] = with_user_packages(sys.path)
    else:
        sys.path.insert(0, site)


def _load(job: dict[str, Any], reply: Reply, runtime: Runtime, profile: str | None = None) -> tuple[LoadedModel, int]:
    reply.enter("load")
    start = time.perf_counter_ns()
    model = runtime.load(job["model"], job["setting"], profile)
    return model, time.perf_counter_ns() - start


def _time(job: dict[str, Any], reply: Reply, runtime: Runtime) -> dict[str, Any]:
    from edgeopt_agent import native
    from edgeopt_agent.runtimes import tensors

    model, load_ns = _load(job, reply, runtime)
    feeds = tensors.Samples(job["inputs"], model.input_names).within(_MAX_FEED_BYTES)
    timed_by_program = native.of(model)
    if timed_by_program is not None:
        return native.block(job, timed_by_program, feeds[0], reply.enter, MAX_LATENCIES)
    before: dict[str, Any] = {}

    def enter(phase: str) -> None:
        reply.enter(phase)
        if phase == "timed":
            gc.collect()
            gc.freeze()
            gc.disable()
            before.update(watch.counters())

    scenario = job["scenario"]
    batched = scenario["name"] == "offline" and model.takes_batches and tensors.is_one_each(feeds)
    batches = tensors.batches(feeds, scenario["streams"]) if batched else []
    measured = run_scenario(
        scenario,
        model.run,
        feeds,
        (time.perf_counter_ns, time.sleep),
        _plan(job, tensors.are_of_one_size(feeds)),
        enter,
        batches=batches,
    )
    timing, latencies = measured.timing, measured.latencies_ns
    timed = watch.between(before, watch.counters())
    sizes = memory.of_process(memory.own_sizes())
    gc.enable()
    problem = tensors.not_finite(timing.first_output, model.output_names) or tensors.not_finite(
        timing.last_output, model.output_names
    )
    if problem is not None:
        raise BlockFailed("bad-output", problem)
    result = {
        "load_ns": load_ns,
        "first_ns": timing.first_ns,
        "warmup_ns": thin(measured.warmup_ns, _MAX_WARMUP),
        "latencies_ns": thin(latencies, MAX_LATENCIES),
        # Thinned, they are no longer one sample after the other.
        "feeds": len(feeds) if len(latencies) <= MAX_LATENCIES else 0,
        **({"thinned_from": len(latencies)} if len(latencies) > MAX_LATENCIES else {}),
        **sizes,
        "provider_used": model.provider_used,
        "timed": timed,
        "flags": measured.flags + watch.doubts(timed, latencies, len(batches) or len(feeds)),
        "inferences": measured.inferences,
        "timed_ns": measured.timed_ns,
        "stream_ns": thin(measured.stream_ns, MAX_LATENCIES),
    }
    put(result, "late_starts", measured.late_starts, "nothing was scheduled")
    put(result, "steady", timing.judgement.is_steady, timing.judgement.reason)
    if timing.judgement.is_steady is False:
        result["steady_reason"] = timing.judgement.reason
    return result


def _plan(job: dict[str, Any], is_uniform: bool) -> Plan:
    return Plan(
        min_ns=int(job["min_s"] * 1e9),
        min_count=int(job["min_inferences"]),
        max_ns=int(job["max_s"] * 1e9),
        warmup_min_ns=int(job["warmup_min_s"] * 1e9),
        warmup_min_count=int(job["warmup_min_inferences"]),
        is_mixed=not is_uniform,
    )


def thin(series: array[int], limit: int) -> list[int]:
    """Return at most `limit` values, evenly spaced over the series, the first among them."""
    count = len(series)
    return list(series) if count <= limit else [series[number * count // limit] for number in range(limit)]


def _energy(job: dict[str, Any], reply: Reply, runtime: Runtime) -> dict[str, Any]:
    from edgeopt_agent import energy, native
    from edgeopt_agent.runtimes import tensors

    model, load_ns = _load(job, reply, runtime)
    native.refuse(model)
    feeds = tensors.Samples(job["inputs"], model.input_names).within(_MAX_FEED_BYTES)
    result = energy.load(job, model.run, feeds, reply.enter)
    problem = tensors.not_finite(result.pop("last_output"), model.output_names)
    if problem is not None:
        raise BlockFailed("bad-output", problem)
    return {**result, "load_ns": load_ns, "provider_used": model.provider_used}


def _sustained(job: dict[str, Any], reply: Reply, runtime: Runtime) -> dict[str, Any]:
    from edgeopt_agent import native, sustained
    from edgeopt_agent.probes import thermal
    from edgeopt_agent.runtimes import tensors

    model, _ = _load(job, reply, runtime)
    native.refuse(model)
    feeds = tensors.Samples(job["inputs"], model.input_names).within(_MAX_FEED_BYTES)
    reply.enter("first")
    model.run(feeds[0])
    sensors = thermal.sensors()

    def warmest() -> float | None:
        return max((thermal.temperatures_c(sensors) or {}).values(), default=None)

    reply.enter("timed")
    result, outputs = sustained.sustain(model.run, feeds, time.perf_counter_ns, warmest, int(job["max_s"] * 1e9))
    problem = tensors.not_finite(outputs, model.output_names)
    if problem is not None:
        raise BlockFailed("bad-output", problem)
    return {**result, "provider_used": model.provider_used}


def _outputs(job: dict[str, Any], reply: Reply, runtime: Runtime) -> dict[str, Any]:
    from edgeopt_agent import digests, native
    from edgeopt_agent.runtimes import tensors

    model, _ = _load(job, reply, runtime, f"{job['out']}-profile")
    samples = tensors.Samples(job["inputs"], model.input_names)
    reply.enter("outputs")
    writer = tensors.Writer(job["out"])
    placement: tuple[dict[str, dict[str, int]] | None, str | None] = None, "nothing was computed"
    for feed in samples.each(native.fewer(model, int(job["limit_samples"]))):
        outputs = model.run(feed)
        if not writer.samples:
            placement = model.placement()  # of one inference: a profile of many would be long
        if writer.bytes + tensors.total_bytes(outputs) > job["limit_bytes"]:
            break
        writer.add(outputs)
    writer.close()
    digest, size = digests.of_file(job["out"])
    result: dict[str, Any] = {
        "samples": writer.samples,
        "file": {"path": job["out"], "bytes": size, "sha256": digest},
        "provider_used": model.provider_used,
    }
    put(result, "placement", *placement)
    return result


def _check(job: dict[str, Any], reply: Reply, runtime: Runtime) -> dict[str, Any]:
    from edgeopt_agent.runtimes import tensors

    model, _ = _load(job, reply, runtime)
    inputs = tensors.Samples(job["inputs"], model.input_names)
    expected = tensors.Samples(job["expected"], model.output_names)
    if inputs.count != expected.count:
        raise BlockFailed("error", f"{inputs.count} samples but {expected.count} expected outputs")
    reply.enter("outputs")
    worst: float | None = None
    wrong: list[str] = []
    for sample, (feed, want) in enumerate(zip(inputs.each(), expected.each())):
        for name, output in zip(model.output_names, model.run(feed)):
            error, problem = tensors.largest_error(output, want[name], job["rtol"], job["atol"])
            worst = error if worst is None else max(worst, error or 0.0)
            if problem is not None:
                wrong.append(f"sample {sample}, output {name}: {problem}")
    detail = printable("; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""), limit=600)
    return {
        "ok": not wrong,
        "max_abs_error": worst,
        "samples": inputs.count,
        "detail": detail,
        "provider_used": model.provider_used,
    }
