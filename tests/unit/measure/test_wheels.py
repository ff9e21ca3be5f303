"""Which wheels fit a device, and what is said when none does."""

from __future__ import annotations

import pytest

from edgeopt.errors import DeviceError, StoreError, WheelMissing
from edgeopt.measure.wheels import (
    REQUIREMENTS,
    DevicePython,
    Wheel,
    device_python,
    explain,
    is_new_enough,
    needed_by,
    oldest,
    pip_arguments,
    platform_tags,
    runtime_version,
)


def target(**changes: object) -> DevicePython:
    fields: dict[str, object] = {
        "version": "3.11.2",
        "implementation": "cpython",
        "machine": "aarch64",
        "bits": 64,
        "libc": "glibc",
        "libc_version": "2.36",
    }
    return DevicePython(**(fields | changes))  # type: ignore[arg-type]


def test_platform_tags_run_from_the_devices_glibc_down_to_manylinux2014() -> None:
    """Newest first: pip takes the first that fits."""
    tags = platform_tags(target())

    assert tags[0] == "manylinux_2_36_aarch64"
    assert tags[-3:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64")
    assert len(tags) == 22


def test_platform_tags_of_musl_are_musllinux() -> None:
    """Alpine takes no manylinux wheel."""
    assert platform_tags(target(libc="musl", libc_version="1.2.4"))[0] == "musllinux_1_2_aarch64"


@pytest.mark.parametrize(("libc", "version"), [(None, None), ("bionic", "1"), ("glibc", "?")])
def test_platform_tags_refuse_an_unknown_libc(libc: str | None, version: str | None) -> None:
    """A guess would end in a crash on the device."""
    with pytest.raises(WheelMissing):
        platform_tags(target(libc=libc, libc_version=version))


def test_a_32_bit_system_on_a_64_bit_kernel_takes_32_bit_wheels() -> None:
    """Raspberry Pi OS 32-bit runs a 64-bit kernel on a Pi 4."""
    facts = {
        "python": {"version": "3.11.2", "implementation": "cpython", "bits": 32},
        "machine": "aarch64",
        "libc": {"name": "glibc", "version": "2.36"},
    }

    assert device_python(facts).machine == "armv7l"


def test_pip_is_told_the_devices_tags_and_never_builds() -> None:
    """No source package, no dependency of the host's."""
    from pathlib import Path

    argv = pip_arguments(["numpy>=1.21"], target(version="3.8.10"), Path("wheels"))

    assert argv[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in argv
    assert "--only-binary=:all:" in argv
    assert argv[argv.index("--python-version") + 1] == "3.8"
    assert argv[argv.index("--abi") + 1] == "cp38"
    assert argv[-1] == "numpy>=1.21"


def test_the_runtimes_version_is_read_from_its_wheels_name() -> None:
    """PEP 427: name-version-..."""
    from pathlib import Path

    wheels = [
        Wheel(file=name, digest="0" * 64, bytes=1, path=Path(name))
        for name in (
            "numpy-2.2.6-cp310-cp310-manylinux_2_17_aarch64.whl",
            "onnxruntime-1.23.2-cp310-cp310-manylinux_2_28_aarch64.whl",
        )
    ]

    assert runtime_version("onnxruntime", wheels) == "1.23.2"
    with pytest.raises(StoreError):
        runtime_version("onnxruntime", wheels[:1])


def test_a_missing_wheel_names_the_package_the_python_and_what_to_do() -> None:
    """The three things that a user needs to go on."""
    stderr = "ERROR: Could not find a version that satisfies the requirement onnxruntime>=1.19 (from versions: none)\nERROR: No matching distribution found for onnxruntime>=1.19"

    with pytest.raises(WheelMissing) as caught:
        explain("onnxruntime>=1.19", target(version="3.14.0", machine="armv7l", bits=32), stderr)

    assert "onnxruntime" in caught.value.message
    assert "3.14.0 on armv7l" in caught.value.message
    assert "--python" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"version": "3.15.0"}, "has wheels (3.10 to 3.13; this is 3.15)"),
        ({"machine": "riscv64"}, "64-bit ARM only"),
        ({"libc": "musl", "libc_version": "1.2.4"}, "this one has musl"),
    ],
    ids=["python", "cpu", "libc"],
)
def test_the_way_out_is_for_what_the_wheel_is_missing_for(changes: dict[str, object], way_out: str) -> None:
    """Another Python helps no CPU, and no other libc."""
    with pytest.raises(WheelMissing) as caught:
        explain("onnxruntime>=1.19", target(**changes), "ERROR: No matching distribution found for onnxruntime>=1.19")

    assert way_out in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("stderr", "error", "code"),
    [
        ("/usr/bin/python3: No module named pip", StoreError, "store-error"),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: No matching distribution found for numpy",
            DeviceError,
            "fetch-failed",
        ),
        ("ERROR: something else", DeviceError, "fetch-failed"),
        ("", DeviceError, "fetch-failed"),
    ],
)
def test_other_failures_of_pip_are_told_apart(stderr: str, error: type[Exception], code: str) -> None:
    """A dead network is not a missing wheel."""
    with pytest.raises(error) as caught:
        explain("numpy>=1.21", target(), stderr)

    assert getattr(caught.value, "code", None) == code


def test_every_way_to_a_runtime_says_its_oldest_version() -> None:
    for runtime, ways in REQUIREMENTS.items():
        assert all(">=" in way[0] for way in ways)
        assert is_new_enough(runtime, oldest(runtime))
        assert not is_new_enough(runtime, "0.9")


def test_what_is_frozen_is_new_enough() -> None:
    """tflite-runtime ends at 2.14; its own numbers say nothing beside ai-edge-litert's."""
    assert is_new_enough("litert", "2.13.0+tflite-runtime")
    assert not is_new_enough("litert", "1.4.0")


def test_an_older_python_needs_more_for_litert() -> None:
    needs = REQUIREMENTS["litert"][0]
    assert needed_by(needs, target(version="3.10.12"))[-1].startswith("backports.strenum")
    assert needed_by(needs, target(version="3.11.2")) == needs
    assert needed_by(REQUIREMENTS["onnxruntime"][0], target(version="3.8.10")) == REQUIREMENTS["onnxruntime"][0]


def test_tflite_runtime_is_told_apart_from_its_successor() -> None:
    from pathlib import Path

    wheel = Wheel(file="tflite_runtime-2.14.0-cp311-cp311-x.whl", digest="0" * 64, bytes=1, path=Path("x"))
    assert runtime_version("litert", [wheel]) == "2.14.0+tflite-runtime"
