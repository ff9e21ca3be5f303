"""Where builds run when not here: a Dask cluster, by the address of its scheduler.

Tasks are plain data and named by their content, so a worker that finds a variant in the cache does not build it. The cache is a folder: every worker must see it under
the same path, and have the same versions of what builds. Both are checked before the first task. Dask itself unpickles what comes over its connections: the
cluster must be the user's own.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from edgeopt.compiler.cache import tool_versions
from edgeopt.compiler.confine import stop_group
from edgeopt.errors import ConfigError, ExecutorError, StoreError

T = TypeVar("T")
SCHEMES = ("tcp", "tls", "ws", "wss")
CONNECT_S = 10.0
STOP_S = 10.0


class Cluster(Executor):
    """The workers of a Dask client as an executor whose running children can be stopped, too."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._executor = client.get_executor(pure=False)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function on some worker."""
        future: Future[T] = self._executor.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all tasks, or cancel them."""
        self._executor.shutdown(wait=wait and not cancel_futures)

    def stop(self, groups: Sequence[str]) -> None:
        """Cancel what has not begun, and kill the children of what has."""
        self.shutdown(cancel_futures=True)
        # A thread, because `run` has no deadline of its own, and a cluster that is gone must not hold up a user who wants to leave.
        asking = threading.Thread(target=self._tell, args=(list(groups),), daemon=True)
        asking.start()
        asking.join(STOP_S)

    def _tell(self, groups: list[str]) -> None:
        with contextlib.suppress(Exception):
            self._client.run(stop_groups, groups)


def stop_groups(groups: Sequence[str]) -> None:
    """Stop several groups of this process."""
    for group in groups:
        stop_group(group)


def check_url(url: str) -> str:
    """Return the address of a scheduler if it is one.

    Raises:
        ConfigError: it is not of the form tcp://host:port.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port is not None
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"executor: found {url!r}, allowed: the address of a Dask scheduler, such as tcp://host:8786")
    return url


@contextlib.contextmanager
def open_executor(url: str | None, cache: Path) -> Iterator[Executor | None]:
    """Connect to a cluster and see that it can build; None stands for the default pool of this process.

    Args:
        url: of the scheduler, or None.
        cache: where variants go.

    Raises:
        ConfigError: not an address, or `distributed` is not installed here.
        ExecutorError: executor-unreachable; executor-mismatch: it has no workers, or their versions differ.
        StoreError: a worker does not see the cache.
    """
    if url is None:
        yield None
        return
    client = _connect(check_url(url))
    try:
        _check_workers(client, url)
        _check_cache(client, cache)
        yield Cluster(client)
    finally:
        client.close(timeout=STOP_S)


def _connect(url: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"executor: {url} needs the package `distributed`, which is not installed",
            hint="pip install edgeopt[dask]",
        ) from error
    try:
        return Client(url, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ExecutorError(
            f"{url}: no Dask scheduler answers there: {str(error).splitlines()[0] if str(error) else 'silence'}",
            hint="Start one (dask scheduler; dask worker ADDRESS), check the address, or leave --executor out to build here.",
            code="executor-unreachable",
        ) from error


def _check_workers(client: Any, url: str) -> None:
    """There are some, and what they build is what would be built here."""
    found = _ask(client, url, tool_versions)
    if not found:
        raise ExecutorError(f"{url}: the cluster has no workers", hint=f"Start one: dask worker {url}")
    own = tool_versions()
    for worker, theirs in sorted(found.items()):
        other = [
            f"{tool} {theirs.get(tool, 'missing')} (here {own[tool]})" for tool in own if theirs.get(tool) != own[tool]
        ]
        if other:
            raise ExecutorError(
                f"worker {worker} has other versions: {', '.join(other)}",
                hint="Install the same versions there: variants are named by them.",
            )


def _check_cache(client: Any, cache: Path) -> None:
    """Every worker sees a file that was just written."""
    token = cache.absolute() / f".seen-{secrets.token_hex(8)}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        token.touch()
        seen = _ask(client, "the cluster", _is_there, str(token))
    except OSError as error:
        raise StoreError(f"{cache}: cannot be written: {error}", hint="Set EDGEOPT_HOME.") from error
    finally:
        with contextlib.suppress(OSError):
            token.unlink(missing_ok=True)
    blind = sorted(worker for worker, there in seen.items() if not there)
    if blind:
        raise StoreError(
            f"worker {blind[0]} does not see {cache}: variants are passed on in this folder",
            hint="Let EDGEOPT_HOME be a folder that every worker has under the same path (a network file system).",
        )


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _ask(client: Any, url: str, question: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Every worker's answer, by its address.

    Raises:
        ExecutorError: a worker cannot run our code, or is gone.
    """
    try:
        answers: dict[str, Any] = client.run(question, *args)
    except Exception as error:
        raise ExecutorError(
            f"{url}: its workers cannot run edgeopt: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            hint="Install edgeopt where the workers run, in the same version.",
        ) from error
    return answers
