"""Run build tasks on an executor, each when what it begins from is there, and pass on what their children tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path

from edgeopt.compiler.build_one import BuildTask
from edgeopt.compiler.executor import Cluster, stop_groups
from edgeopt.compiler.progress import read_progress
from edgeopt.domain.variant import Skipped, Variant
from edgeopt.errors import EdgeoptError, ExecutorError

WORKERS = 2
"""Children side by side. The work is theirs; the threads here only wait."""

LOOK_S = 0.25
"""How often the children's progress is looked at."""

Run = Callable[[BuildTask], Variant | None]
"""Does a task: the variant; None for a rung that is there now, `Skipped` for one that could not be made."""

Tell = Callable[[int, str], None]
"""Told how many variants are done, and what is being done or was done last."""


def run_tasks(
    tasks: Sequence[BuildTask], run: Run, *, executor: Executor | None, tell: Tell, done: int = 0
) -> dict[str, Variant]:
    """Run all tasks; returns the variants by name. A variant whose rung could not be made is skipped for the same reason.

    Args:
        tasks: with the rungs that they need among them.
        run: a function of a module, so that any executor can carry it.
        executor: two threads by default.
        tell: see `Tell`.
        done: variants that were there before.
    """
    pool = executor or ThreadPoolExecutor(WORKERS, thread_name_prefix="build")
    queue = _Queue(tasks, tell, done)
    try:
        while queue.waiting or queue.running:
            queue.start(lambda task: pool.submit(run, task))
            queue.look()
    except BaseException:
        _stop(executor, [task.group for task in tasks])
        raise
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    return queue.made


class _Queue:
    """Tasks that wait for a rung, that run, and what came of the others: variants by name, rungs by key."""

    def __init__(self, tasks: Sequence[BuildTask], tell: Tell, done: int) -> None:
        self.waiting = list(tasks)
        self.running: dict[Future[Variant | None], BuildTask] = {}
        self.made: dict[str, Variant] = {}
        self.rungs: dict[str, Variant | None] = {}
        self._tell, self._done, self._told = tell, done, ""

    def start(self, submit: Callable[[BuildTask], Future[Variant | None]]) -> None:
        """Begin whatever has what it begins from."""
        for task in [task for task in self.waiting if task.needs is None or task.needs in self.rungs]:
            self.waiting.remove(task)
            failed = self.rungs[task.needs] if task.needs else None
            if isinstance(failed, Skipped):
                self._settle(task, Skipped(name=task.name, recipe=task.recipe, reason=failed.reason))
            else:
                self.running[submit(task)] = task

    def look(self) -> None:
        """Wait a little for something to end, and pass on what the rest is doing."""
        finished, _ = wait(self.running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        for future in finished:
            task = self.running.pop(future)
            self._settle(task, _result(future, task))
        words = _words(self.running.values())
        if words not in ("", self._told):
            self._tell(self._done + len(self.made), words)
            self._told = words

    def _settle(self, task: BuildTask, result: Variant | None) -> None:
        if task.is_rung:
            self.rungs[task.key] = result
        elif result is not None:
            self.made[task.name] = result
            self._tell(self._done + len(self.made), task.name)


def _words(tasks: Iterable[BuildTask]) -> str:
    """What runs, and how far it is."""
    lines = [(task.name, read_progress(Path(task.progress))) for task in tasks if task.progress]
    return "; ".join(f"{name}: {line}" for name, line in lines if line)


def _result(future: Future[Variant | None], task: BuildTask) -> Variant | None:
    """What came of a task; one that took its worker down with it is given up."""
    try:
        return future.result()
    except EdgeoptError:
        raise
    except CancelledError as error:
        raise ExecutorError(
            f"the executor went away while it built {task.name}",
            hint="What is built is kept; run the same command again.",
            code="executor-lost",
        ) from error
    except Exception as error:  # noqa: BLE001 - every kind of executor has its own words for a dead worker
        reason = f"building it was given up: its worker was lost ({type(error).__name__})"
        return Skipped(name=task.name, recipe=task.recipe, reason=reason)


def _stop(executor: Executor | None, groups: Sequence[str]) -> None:
    """Let no child go on that nobody waits for."""
    if isinstance(executor, Cluster):
        executor.stop(groups)
    else:
        stop_groups(groups)
