"""What `doctor` says of a board, from facts to words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeopt.domain.device import Device
from edgeopt.flows.findings import Finding, against, judge_facts
from edgeopt.profiles.load import list_profiles, load_profile
from edgeopt.profiles.recognise import recognise


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
        "runtimes": [
            {"name": "onnxruntime", "version": "1.20.1", "source": "edgeopt", "site": "/home/pi/site"},
            {"name": "litert", "version": "2.3.0", "source": "edgeopt", "site": "/home/pi/other"},
            {"name": "openvino", "version": "2026.4.1", "source": "python", "site": None},
            {"name": "ncnn", "version": "1.0.20261020", "source": "edgeopt", "site": "/home/pi/third"},
        ],
    }
    for key, value in changes.items():
        facts[key] = facts.get(key, {}) | value if isinstance(value, dict) else value
    return facts


def judge(facts: dict[str, Any], profile: str = "pi4") -> dict[str, Finding]:
    device = Device(name="kitchen", profile=profile, address="ssh://pi@kitchen")
    return {f.subject: f for f in judge_facts(facts, device, load_profile(profile), list_profiles())}


def test_a_board_that_lacks_nothing_gets_no_advice() -> None:
    findings = judge(make_facts())

    assert {f.state for f in findings.values()} == {"ok"}
    assert [f.advice for f in findings.values() if f.advice] == []
    assert {"onnxruntime 1.20.1 (shipped by edgeopt)", "openvino 2026.4.1 (of its Python)"} <= set(
        findings["runtime"].found.split(", ")
    )
    assert findings["isa"].found == "no int8 or fp16 instructions: compression saves memory more than time"


def test_one_runtime_is_enough_and_the_others_are_offered() -> None:
    found = judge(make_facts(runtimes=make_facts()["runtimes"][:1]))["runtime"]
    assert (found.state, found.found) == ("ok", "onnxruntime 1.20.1 (shipped by edgeopt)")
    assert "Not there: litert, " in (found.advice or "")
    assert "edgeopt device setup kitchen" in (found.advice or "")


@pytest.mark.parametrize(
    ("there", "reasons", "said"),
    [
        ([], {"onnxruntime 1.32.0 (4f2a)": "GLIBC_2.38 not found"}, "onnxruntime 1.32.0 (4f2a) does not load there: GLIBC_2.38 not found"),
        ([{"name": "onnxruntime", "version": "1.10.0", "source": "python", "site": None}], {"litert": "not installed for this Python"}, "onnxruntime 1.10.0 is older than 1.19"),
    ],
)  # fmt: skip
def test_a_runtime_that_does_not_load_or_is_too_old_is_named(
    there: list[Any], reasons: dict[str, str], said: str
) -> None:
    facts = make_facts(runtimes=there, runtimes_reason=reasons)
    finding = judge(facts, "jetson-xavier-nx")["runtime"]
    assert finding.state == "fail"
    assert finding.advice == "Run: edgeopt device setup kitchen"
    assert said in finding.found


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


def test_a_board_that_looks_like_another_is_said_with_the_evidence() -> None:
    found = judge(make_facts(), profile="pi5")["board"]
    assert (found.state, found.advice) == (
        "warn",
        "It looks like `pi4`, the inventory says `pi5`: its device tree says 'raspberrypi,4-model-b'.",
    )


def test_a_nameless_board_with_the_profile_s_cores_may_be_one() -> None:
    """Nothing speaks against it, but others have such cores, too."""
    nameless = make_facts(board={"dt_model": None, "dt_compatible": []}, cpu={"parts": ["0xd03"]})
    assert judge(nameless, profile="pi3")["board"].state == "ok"
    found = judge(nameless, profile="pi3")["board"].found
    assert found.endswith("; nothing names the board, and `pi-zero-2w` or `pi3` has such cores")
    assert judge(nameless, profile="pi4")["board"].advice == (
        "Nothing there says that it is a `pi4`, as the inventory has it: nothing names the board. "
        "`generic-aarch64` (or `pi-zero-2w` or `pi3`, by its cores) is what is known."
    )


def test_a_board_that_no_profile_knows_is_not_the_chosen_one() -> None:
    found = judge(make_facts(board={"dt_model": "Radxa ROCK 5B", "dt_compatible": []}))["board"]
    assert found.advice == (
        "Nothing there says that it is a `pi4`, as the inventory has it: no profile is for 'Radxa ROCK 5B'. `generic-aarch64` is what is known."
    )


def test_a_virtual_machine_is_said_whatever_board_it_takes_itself_for() -> None:
    shows = {"virtual": "its device tree says linux,dummy-virt"}
    board = judge(make_facts(board=shows))["board"]
    other = judge(make_facts(board={"dt_model": "Raspberry Pi 5 Model B Rev 1.0", "dt_compatible": [], **shows}))[
        "board"
    ]

    words = "This is a virtual machine (its device tree says linux,dummy-virt): its times say nothing about a board."
    assert (board.state, board.advice) == ("warn", words)
    assert "It looks like `pi5`" in str(other.advice)
    assert str(other.advice).endswith(words)


def test_the_disk_that_counts_is_the_one_that_stays() -> None:
    """A session of doctor's lies in a folder for temporary files."""
    facts = make_facts(disk={"path": "/tmp/edgeopt-1", "free_bytes": 100_000_000})
    facts["lasting_disk"] = facts["disk"] | {"path": "/home/pi", "free_bytes": 20_000_000_000}

    assert judge(facts)["disk"] == Finding(subject="disk", state="ok", found="20.0 GB free", advice=None)


def test_a_32_bit_system_and_foreign_cores_are_said() -> None:
    """The board is the one of the inventory, and something else is wrong."""
    small = judge(make_facts(python={"bits": 32}), profile="generic-armv7")["board"]
    assert small.state == "warn"
    assert "whose profile `pi4` is for 64-bit ARM Linux, and this is 32-bit ARM Linux." in (small.advice or "")
    foreign = judge(make_facts(cpu={"parts": ["0xd07"]}))["board"]
    assert "but its CPU has cores of part 0xd07" in (foreign.advice or "")


def test_a_runtime_that_nobody_publishes_for_the_python_is_not_offered() -> None:
    """Setup would only look for it in vain; what is to be had is offered."""
    small = make_facts(python={"bits": 32}, libc={"name": "glibc", "version": "2.36"}, runtimes=[])
    advice = judge(small, profile="pi4")["runtime"].advice or ""
    assert "No onnxruntime is published for it: ONNX Runtime publishes no 32-bit ARM wheels" in advice
    assert "No openvino is published for it" in advice
    assert "No litert" not in advice
    only = [{"name": "onnxruntime", "version": "1.19.2", "source": "python", "site": None}]
    jetpack = make_facts(python={"version": "3.8.0"}, libc={"name": "glibc", "version": "2.27"}, runtimes=only)
    advice = judge(jetpack, profile="jetson-xavier-nx")["runtime"].advice or ""
    assert "No openvino is published for it: for Python 3.8 and glibc 2.27 the newest openvino is 2024.0" in advice
    musl = make_facts(libc={"name": "musl", "version": "1.2"}, runtimes=[])
    assert judge(musl)["runtime"].advice == "Run: edgeopt device setup kitchen"


def test_what_speaks_against_a_profile_is_for_those_that_name_a_board() -> None:
    """A 32-bit system on a Pi 4 is no fault of the generic profile, which was chosen for that."""
    seen = recognise(make_facts(python={"bits": 32}), list_profiles())
    assert against(seen, load_profile("generic-armv7")) is None
    assert against(seen, load_profile("pi4")) == (
        "Its device tree says 'raspberrypi,4-model-b', whose profile `pi4` is for 64-bit ARM Linux, and this is 32-bit ARM Linux. "
        "`generic-armv7` is for that."
    )
    assert against(recognise(make_facts(), list_profiles()), load_profile("pi4")) is None
