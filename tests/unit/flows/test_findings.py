"""What `doctor` says of a board, from facts to words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeopt.domain.device import Device
from edgeopt.flows.findings import Finding, judge_facts
from edgeopt.profiles.load import list_profiles, load_profile


def make_facts(**changes: Any) -> dict[str, Any]:
    """A Raspberry Pi 4 on which everything is as it should be; a change is merged into a table of facts."""
    facts: dict[str, Any] = {
        "system": "Linux",
        "kernel": "6.6.31",
        "machine": "aarch64",
        "libc": {"name": "glibc", "version": "2.36"},
        "python": {"version": "3.11.2", "implementation": "cpython", "bits": 64},
        "cpu": {"model": None, "features": ["asimd", "fp", "crc32"], "cores": 4},
        "board": {"dt_model": "Raspberry Pi 4 Model B Rev 1.4", "dt_compatible": ["raspberrypi,4-model-b"]},
        "memory": {"total_bytes": 4_000_000_000, "available_bytes": 3_000_000_000},
        "disk": {"path": "/home/pi/.edgeopt", "free_bytes": 20_000_000_000, "writable": True},
        "clock": {"utc": "2026-11-25T10:00:00Z", "plausible": True},
        "governor": ["performance"] * 4,
        "sensors": {"temperature": [{"name": "cpu-thermal"}], "power": [{"name": "ina219", "class": "C"}]},
        "runtimes": [{"name": "onnxruntime", "version": "1.20.1", "source": "edgeopt", "site": "/home/pi/site"}],
    }
    for key, value in changes.items():
        facts[key] = facts[key] | value if isinstance(value, dict) else value
    return facts


def judge(facts: dict[str, Any], profile: str = "pi4") -> dict[str, Finding]:
    device = Device(name="kitchen", profile=profile, address="ssh://pi@kitchen")
    return {f.subject: f for f in judge_facts(facts, device, load_profile(profile), list_profiles())}


def test_a_board_that_lacks_nothing_gets_no_advice() -> None:
    findings = judge(make_facts())

    assert {f.state for f in findings.values()} == {"ok"}
    assert [f.advice for f in findings.values() if f.advice] == []
    assert findings["runtime"].found == "onnxruntime 1.20.1 (shipped by edgeopt)"
    assert findings["isa"].found == "no int8 or fp16 instructions: compression saves memory more than time"


@pytest.mark.parametrize(
    ("subject", "state", "found", "advice", "changes"),
    [
        ("board", "warn", "Raspberry Pi 5", "`pi5`", {"board": {"dt_model": "Raspberry Pi 5 Model B Rev 1.0", "dt_compatible": ["raspberrypi,5-model-b"]}}),
        ("runtime", "fail", "cpython 3.11.2 on aarch64", "edgeopt device setup kitchen", {"runtimes": []}),
        ("isa", "unknown", "does not say", None, {"cpu": {"features": []}}),
        ("isa", "warn", "nothing special", "asimd", {"cpu": {"features": ["fp"]}}),
        ("isa", "ok", "asimddp, i8mm", None, {"cpu": {"features": ["asimd", "asimddp", "i8mm", "fp", "crc32"]}}),
        ("sensors", "warn", "no power sensor", "no ina219", {"sensors": {"power": None, "power_reason": "no ina219"}}),
        ("sensors", "warn", "no temperature sensor", None, {"sensors": {"temperature": []}}),
        ("disk", "fail", "/home/pi/.edgeopt cannot be written", "--root", {"disk": {"writable": False}}),
        ("disk", "warn", "0.1 GB free", "free some space", {"disk": {"free_bytes": 100_000_000}}),
        ("disk", "unknown", "not known", None, {"disk": {"free_bytes": None}}),
        ("memory", "warn", "100 of 4000 MB", "Stop what is not needed", {"memory": {"available_bytes": 100_000_000}}),
        ("memory", "unknown", "does not say", None, {"memory": {"available_bytes": None}}),
        ("clock", "warn", "1970", "timedatectl", {"clock": {"utc": "1970-01-01T00:00:07Z", "plausible": False}}),
        ("governor", "warn", "ondemand", "scaling_governor", {"governor": "ondemand"}),
        ("governor", "warn", "ondemand, performance", "scaling_governor", {"governor": ["ondemand", "performance"]}),
    ],
)  # fmt: skip
def test_a_lack_is_found_and_the_advice_says_what_to_do(
    subject: str, state: str, found: str, advice: str | None, changes: dict[str, Any]
) -> None:
    finding = judge(make_facts(**changes))[subject]

    assert finding.state == state
    assert found in finding.found
    assert finding.advice is None if advice is None else advice in (finding.advice or "")


def test_no_governor_is_unknown_and_the_kernel_s_reason_stands_there() -> None:
    facts = make_facts(governor=None) | {"governor_reason": "the kernel shows no cpufreq"}

    assert judge(facts)["governor"] == Finding(
        subject="governor", state="unknown", found="the kernel shows no cpufreq", advice=None
    )


def test_a_generic_profile_is_never_called_wrong() -> None:
    """Whoever took it knows less, not something else."""
    assert judge(make_facts(), profile="generic-aarch64")["board"].state == "ok"


def test_a_runtime_of_the_board_s_own_python_is_named_as_such() -> None:
    own = [{"name": "onnxruntime", "version": "1.19.2", "source": "python", "site": None}]

    assert judge(make_facts(runtimes=own))["runtime"].found == "onnxruntime 1.19.2 (of its Python)"
