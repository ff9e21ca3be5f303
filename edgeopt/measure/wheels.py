"""Resolve and fetch, on the host, the wheels that the *device's* Python, libc and CPU need.

pip does the resolving: it is told the device's tags instead of its own. Only what inference imports is fetched (`--no-deps` with an explicit list): the runtimes' other
declared dependencies (sympy, protobuf, flatbuffers, telemetry, ...) are never imported by it, and a board's card is small.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from edgeopt.errors import DeviceError, StoreError, WheelMissing
from edgeopt_agent.runtime_store import key_of as runtime_key

log = logging.getLogger(__name__)

Needs = tuple[str, ...]
"""Pip requirements, the first of which names the runtime itself."""

REQUIREMENTS: dict[str, tuple[Needs, ...]] = {
    # 1.19 is the first that runs with numpy 1 and 2, and the last for Python 3.8.
    "onnxruntime": (("onnxruntime>=1.19", "numpy>=1.21"),),
    # tflite-runtime is frozen, and was built against numpy 1; it is the only one for 32-bit ARM.
    "litert": (("ai-edge-litert>=2.0", "numpy>=1.23"), ("tflite-runtime>=2.13", "numpy>=1.21,<2")),
    "openvino": (("openvino>=2024.4", "numpy>=1.21"),),
    "ncnn": (("ncnn>=1.0.20240102", "numpy>=1.21"),),
}
"""Runtime name -> what its inference needs, the better way first."""

FROM_THE_SYSTEM = "numpy"
"""What the device's own Python may have where nobody publishes a wheel: Debian's python3-numpy on 32-bit ARM."""

STRENUM = "backports.strenum>=1.2"
"""ai-edge-litert imports it before Python 3.11."""

OLDEST_MANYLINUX = 17
"""manylinux_2_17 (also called manylinux2014) is the oldest tag in use (PEP 599, PEP 600)."""

FETCH_TIMEOUT_S = 900.0


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """A wheel on the host."""

    file: str
    digest: str
    bytes: int
    path: Path


class DevicePython(msgspec.Struct, frozen=True, kw_only=True):
    """What decides which wheels fit: from the probe's facts."""

    version: str
    implementation: str
    machine: str
    bits: int
    libc: str | None
    libc_version: str | None

    def __str__(self) -> str:
        libc = f"{self.libc or 'an unknown libc'} {self.libc_version or ''}".strip()
        return f"{self.implementation} {self.version} on {self.machine} with {libc}"


def version_floors() -> dict[str, dict[str, str]]:
    """Return runtime -> package that brings it -> the oldest version of that package that edgeopt takes."""
    return {name: dict(ways[0].split(">=") for ways in needs) for name, needs in REQUIREMENTS.items()}


def device_python(facts: dict[str, Any]) -> DevicePython:
    """Pick what decides about wheels out of the probe's facts."""
    python, libc = facts["python"], facts.get("libc") or {}
    machine = str(facts["machine"])
    bits = int(python["bits"])
    # A 32-bit system on a 64-bit kernel says aarch64 and takes armv7l wheels (Raspberry Pi OS 32-bit does).
    if bits == 32:
        machine = {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return DevicePython(
        version=python["version"],
        implementation=python["implementation"],
        machine=machine,
        bits=bits,
        libc=libc.get("name"),
        libc_version=libc.get("version"),
    )


def platform_tags(target: DevicePython) -> tuple[str, ...]:
    """Return the platform tags that the device accepts, newest first (PEP 600 for glibc, PEP 656 for musl).

    Raises:
        WheelMissing: the libc is neither, or its version is unknown.
    """
    found = re.match(r"(\d+)\.(\d+)", target.libc_version or "")
    if target.libc not in ("glibc", "musl") or found is None:
        msg = f"no wheels can be chosen for {target}"
        raise WheelMissing(
            msg,
            hint="edgeopt ships wheels to Linux boards with glibc or musl. Install the runtime there by hand, in the Python that --python names.",
        )
    major, minor = int(found[1]), int(found[2])
    if target.libc == "musl":
        return tuple(f"musllinux_{major}_{m}_{target.machine}" for m in range(minor, -1, -1))
    tags = tuple(f"manylinux_{major}_{m}_{target.machine}" for m in range(minor, OLDEST_MANYLINUX - 1, -1))
    return (*tags, f"manylinux2014_{target.machine}", f"linux_{target.machine}")


def pip_arguments(requirements: Sequence[str], target: DevicePython, folder: Path) -> list[str]:
    """Return pip's argv that downloads `requirements` for `target` into `folder`."""
    major, minor = target.version.split(".")[:2]
    argv = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]
    argv += [
        "--implementation",
        "cp",
        "--python-version",
        f"{major}.{minor}",
        "--abi",
        f"cp{major}{minor}",
        "--abi",
        "abi3",
        "--abi",
        "none",
    ]
    for tag in platform_tags(target):
        argv += ["--platform", tag]
    return [*argv, "--dest", str(folder), *requirements]


def fetch_wheels(runtime: str, target: DevicePython, cache: Path) -> tuple[Wheel, ...]:
    """Fetch what `runtime` needs on `target`; a set that was fetched once is used again, also without a network.

    Raises:
        WheelMissing: nobody publishes a package for that Python and CPU; the message names both and what to do.
        StoreError: pip is not there, or the cache cannot be written.
        DeviceError: the package index cannot be reached.
    """
    ways = REQUIREMENTS[runtime]
    for way in ways[:-1]:
        try:
            return _fetch(way, target, cache)
        except WheelMissing as error:
            log.debug("%s: %s", runtime, error.message)
    return _fetch(ways[-1], target, cache)


def _fetch(needs: Needs, target: DevicePython, cache: Path) -> tuple[Wheel, ...]:
    requirements = needed_by(needs, target)
    key = hashlib.sha256(json.dumps([requirements, msgspec.to_builtins(target)]).encode()).hexdigest()[:16]
    folder = cache / "wheels" / key
    ready = folder / "complete.json"
    if not ready.is_file():
        for requirement in requirements:
            _download_or_leave(requirement, target, folder)
        ready.write_text(json.dumps({"target": str(target), "requirements": requirements}))
    return tuple(_describe(path) for path in sorted(folder.glob("*.whl")))


def oldest(runtime: str) -> str:
    """Return the oldest version of a runtime that edgeopt uses."""
    return re.split(r"[<>=!~ ]+", REQUIREMENTS[runtime][0][0])[1] if runtime in REQUIREMENTS else "0"


def is_new_enough(runtime: str, version: str) -> bool:
    """Tell whether edgeopt uses a runtime of this version. What is frozen counts as it is."""
    return "+" in version or _numbers(version) >= _numbers(oldest(runtime))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def needed_by(needs: Needs, target: DevicePython) -> Needs:
    """The requirements, with what an older Python needs besides."""
    is_old = tuple(int(part) for part in target.version.split(".")[:2]) < (3, 11)
    return (*needs, STRENUM) if is_old and needs[0].startswith("ai-edge-litert") else needs


def _download_or_leave(requirement: str, target: DevicePython, folder: Path) -> None:
    """Fetch a wheel; numpy is left to the device's own Python where nobody publishes one."""
    try:
        _download(requirement, target, folder)
    except WheelMissing:
        if not requirement.startswith(FROM_THE_SYSTEM):
            raise


def runtime_version(runtime: str, wheels: Sequence[Wheel]) -> str:
    """Return the version of the runtime itself among its wheels, from the wheel's file name (PEP 427), as the agent tells it."""
    packages = {re.split(r"[<>=!~ ]", way[0])[0] for way in REQUIREMENTS[runtime]}
    for wheel in wheels:
        name, version, *_ = wheel.file.split("-")
        package = name.lower().replace("_", "-")
        if package in packages:
            return version + ("+tflite-runtime" if package == "tflite-runtime" else "")
    msg = f"no wheel of {runtime} among those fetched"
    raise StoreError(msg, hint="Remove the cache folder `wheels` and try again.")


def key_of(wheels: Sequence[Wheel]) -> str:
    """Return what the agent calls a runtime of these wheels."""
    return runtime_key([wheel.digest for wheel in wheels])


def _describe(path: Path) -> Wheel:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return Wheel(file=path.name, digest=digest.hexdigest(), bytes=path.stat().st_size, path=path)


def _download(requirement: str, target: DevicePython, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The user's PIP_* settings (index, certificates, proxies) count; PYTHONPATH must not.
        environment = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV")
        }
        done = subprocess.run(
            pip_arguments([requirement], target, folder),
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"fetching {requirement} took longer than {FETCH_TIMEOUT_S:.0f} s"
        raise DeviceError(msg, hint="Check this computer's network and try again.", code="fetch-failed") from error
    except OSError as error:
        msg = f"{folder}: {error.strerror}"
        raise StoreError(msg, hint="Check the cache folder of this computer.") from error
    if done.returncode == 0:
        return
    explain(requirement, target, done.stderr)


def _ways_out(package: str, target: DevicePython) -> str:
    """What to do about a wheel that does not exist: another system where none is published for the CPU or libc, else another Python."""
    if target.libc == "musl":
        first = f"{package} is published for systems with glibc only (Debian, Ubuntu, Raspberry Pi OS), and this one has musl."
    elif target.machine in ("x86_64", "aarch64"):
        minor = target.version.rsplit(".", 1)[0]
        first = (
            f"Install a Python there for which {package} has wheels (3.10 to 3.13; this is {minor}), "
            f"name it with `edgeopt device add ... --python /path/to/python3 --replace`, and run setup again."
        )
    else:
        first = (
            f"{package} is published for 64-bit x86 and 64-bit ARM only; a 64-bit system on the board helps where its CPU can run one "
            f"(a Raspberry Pi from the 3 on can)."
        )
    return (
        f"{first} Or build {package} for the board yourself, install it in a Python there, and name that with --python."
    )


def explain(requirement: str, target: DevicePython, stderr: str) -> NoReturn:
    """Raise what pip's words on stderr mean.

    Raises:
        WheelMissing: there is no such wheel.
        StoreError: pip is not installed here.
        DeviceError: the package index cannot be reached, or anything else (`fetch-failed`).
    """
    package = re.split(r"[<>=!~ ]", requirement)[0]
    if "No module named pip" in stderr:
        msg = "pip is not installed beside edgeopt, and it is needed to fetch the device's wheels"
        raise StoreError(msg, hint="Install it: python -m ensurepip")
    if "No matching distribution found" in stderr or "Could not find a version" in stderr:
        if "Retrying" in stderr or "Temporary failure" in stderr or "connection broken" in stderr.lower():
            msg = f"the package index could not be reached while looking for {package}"
            raise DeviceError(
                msg, hint="Check this computer's network (and pip's settings) and try again.", code="fetch-failed"
            )
        raise WheelMissing(f"nobody publishes {package} ({requirement}) for {target}", hint=_ways_out(package, target))
    last = [line for line in stderr.splitlines() if line.strip()]
    msg = f"pip could not fetch {requirement}: {last[-1].strip() if last else 'it says nothing'}"
    raise DeviceError(
        msg, hint="Check this computer's network (and pip's settings) and try again.", code="fetch-failed"
    )
