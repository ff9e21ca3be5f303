"""What is to be had for a device's Python."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.profiles.availability import Availability, availability
from edgeopt.profiles.load import list_profiles

SYSTEMS = tuple({system.name: system for profile in list_profiles() for system in profile.systems}.values())


def look(
    runtime: str, arch: str = "aarch64", python: str = "3.11.2", glibc: str | None = "2.36"
) -> Availability | None:
    return availability(runtime, SYSTEMS, arch=arch, python=python, glibc=glibc)


def test_the_newest_wheel_for_a_python_is_known() -> None:
    assert look("onnxruntime") == Availability(package="onnxruntime", version="1.32.0")
    assert look("onnxruntime", python="3.10.12", glibc="2.35") == Availability(package="onnxruntime", version="1.23.2")
    assert look("litert", arch="armv7l") == Availability(package="tflite-runtime", version="2.14.0")


def test_a_lack_has_a_reason_and_a_way_out() -> None:
    found = look("onnxruntime", arch="armv7l")
    assert found is not None
    assert "install the 64-bit system" in (found.reason or "")
    old = look("openvino", python="3.8.0", glibc="2.27")
    assert old is not None
    assert "2024.4 or newer" in (old.reason or "")


def test_a_newer_glibc_loads_what_an_older_one_does() -> None:
    """Of two systems with one Python, the newer one that the device can stand in for counts."""
    assert look("openvino", python="3.8.10", glibc="2.31") == Availability(package="openvino", version="2024.4.0")
    assert look("openvino", python="3.8.10", glibc="2.30") == look("openvino", python="3.8.10", glibc="2.27")


@pytest.mark.parametrize(
    ("arch", "python", "glibc"),
    [
        ("aarch64", "3.14.0", "2.41"),
        ("aarch64", "3.11.2", "2.30"),
        ("aarch64", "3.11.2", None),
        ("riscv64", "3.11.2", "2.36"),
        ("aarch64", "none", "x.y"),
    ],
)
def test_what_nobody_looked_up_is_not_known(arch: str, python: str, glibc: str | None) -> None:
    assert look("onnxruntime", arch, python, glibc) is None


def test_a_runtime_that_needs_no_wheel_is_not_known() -> None:
    assert look("command") is None


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(), st.text(), st.text(), st.none() | st.text())
def test_any_words_are_an_answer_or_none(runtime: str, arch: str, python: str, glibc: str | None) -> None:
    assert look(runtime, arch, python, glibc) is None
