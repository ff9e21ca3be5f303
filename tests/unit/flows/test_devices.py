"""What `device setup` says of a runtime that nobody publishes."""

from __future__ import annotations

import pytest

from edgeopt.domain.observer import Silent
from edgeopt.errors import WheelMissing
from edgeopt.flows import devices
from edgeopt.flows.lacks import lack
from edgeopt.measure.wheels import DevicePython
from edgeopt.profiles.load import list_profiles
from edgeopt.profiles.places import find_places


def python(version: str, machine: str, libc: str = "2.36") -> DevicePython:
    bits = 32 if machine == "armv7l" else 64
    return DevicePython(
        version=version, implementation="cpython", machine=machine, bits=bits, libc="glibc", libc_version=libc
    )


@pytest.fixture
def fetch(monkeypatch, tmp_path):
    """Fetch with an index that has nothing."""

    def nothing(runtime, target, _cache):
        raise WheelMissing(f"nobody publishes {runtime} for {target}", hint="Build it yourself.")

    monkeypatch.setattr(devices, "fetch_wheels", nothing)
    places = find_places({"EDGEOPT_HOME": str(tmp_path)})
    return lambda runtimes, target: devices._fetch_all(runtimes, target, places, Silent(), strict=True)


def test_what_was_looked_up_says_why_and_what_to_do(fetch):
    with pytest.raises(WheelMissing) as caught:
        fetch(["onnxruntime"], python("3.11.2", "armv7l"))
    assert caught.value.message.startswith("nobody publishes onnxruntime for cpython 3.11.2 on armv7l")
    assert (caught.value.hint or "").startswith(
        "ONNX Runtime publishes no 32-bit ARM wheels: install the 64-bit system"
    )


def test_where_nobody_has_looked_the_general_way_out_stands(fetch):
    with pytest.raises(WheelMissing) as caught:
        fetch(["onnxruntime"], python("3.14.0", "aarch64", "2.41"))
    assert caught.value.hint == "Build it yourself."


def test_a_runtime_that_is_published_is_no_lack():
    profiles = list_profiles()
    assert lack("onnxruntime", python("3.11.2", "aarch64"), profiles) is None
    assert "2024.4 or newer" in (lack("openvino", python("3.8.0", "aarch64", "2.27"), profiles) or "")
