"""What is different with a phone: its programs, what doctor says of it, and what may be installed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeopt.domain.device import Device
from edgeopt.errors import AgentError, ConfigError, RuntimeMissing
from edgeopt.flows.finding import Finding
from edgeopt.flows.findings import judge_facts
from edgeopt.flows.phone import is_phone, programs_of, refuse_unchecked, with_programs
from edgeopt.flows.phone_findings import judge_phone
from edgeopt.measure.phone.reading import facts as facts_of
from edgeopt.profiles.load import list_profiles, load_profile
from tests.unit.measure.phone.test_reading import SAID, parts_of

PHONE = Device(name="phone", profile="android-arm64", address="adb://SERIAL")
ORT = {
    "name": "onnxruntime",
    "version": "sha256.0123",
    "source": "edgeopt",
    "site": "/p",
    "key": "k",
    "providers": [],
    "answers": False,
}
LITERT = ORT | {"name": "litert", "answers": True}


def make_facts(**changes: Any) -> dict[str, Any]:
    """A phone on which everything is as it should be."""
    files = {
        "/proc/cpuinfo": "\n".join(
            f"processor\t: {n}\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd05\n" for n in range(8)
        ),
        "/proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
    }
    found = facts_of(parts_of(files, SAID), "/data/local/tmp/edgeopt")
    return found | {"runtimes": [LITERT, ORT], "runtimes_reason": {}} | changes


def judge(facts: dict[str, Any], device: Device = PHONE) -> list[Finding]:
    profile, known = load_profile(device.profile), list_profiles()
    return list(judge_phone(facts, device, profile, judge_facts(facts, device, profile, known)))


def one(findings: list[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def test_a_phone_that_lacks_nothing_is_ready() -> None:
    findings = judge(make_facts(runtimes=[LITERT]))
    assert {f.state for f in findings if f.subject != "program"} == {"ok"}
    assert one(findings, "phone").found == "Nobody Fake Phone, Android 14 (API 34), arm64-v8a, 8 cores"
    assert one(findings, "battery").found == "87 %, charging, 27.1 degrees"
    assert one(findings, "program").state == "ok"


def test_a_phone_without_any_program_fails_and_says_what_to_bring() -> None:
    reasons = {"onnxruntime": "no onnxruntime_perf_test was brought", "litert": "no benchmark_model was brought"}
    found = one(judge(make_facts(runtimes=[], runtimes_reason=reasons)), "program")
    assert found.state == "fail"
    assert "no benchmark_model was brought; no onnxruntime_perf_test was brought" in found.found
    assert "edgeopt device setup phone" in str(found.advice)


def test_a_program_that_gives_no_answers_is_warned_of() -> None:
    findings = [f for f in judge(make_facts()) if f.subject == "program"]
    assert [f.state for f in findings] == ["ok", "warn"]
    assert "--accept-unchecked" in str(findings[1].advice)


def test_a_program_that_is_named_and_does_not_start_is_warned_of() -> None:
    device = msgspec.structs.replace(PHONE, command=("/bin/onnxruntime_perf_test", "/bin/benchmark_model"))
    findings = [
        f
        for f in judge(make_facts(runtimes=[ORT], runtimes_reason={"litert": "it does not start"}), device)
        if f.subject == "program"
    ]
    assert next((f.state, f.found) for f in findings) == ("warn", "it does not start")


@pytest.mark.parametrize(
    ("changes", "subject", "state", "advice"),
    [
        ({"battery": {"level_percent": 15, "temperature_c": 25.0, "charging": None}}, "battery", "warn", "charge it"),
        (
            {"battery": {"level_percent": 90, "temperature_c": 41.0, "charging": "full"}},
            "battery",
            "warn",
            "let it cool",
        ),
        ({"battery": {"level_percent": 90, "temperature_c": None, "charging": "full"}}, "battery", "ok", None),
        ({"battery": {"level_percent": None, "level_percent_reason": "no service"}}, "battery", "unknown", None),
        (
            {"sensors": {"temperature": [], "power": None, "power_reason": "none"}},
            "sensors",
            "unknown",
            "let the phone rest",
        ),
        ({"lacks": ["flock", "taskset"]}, "shell", "fail", "Android 8"),
    ],
)
def test_what_is_not_as_it_should_be_has_advice(
    changes: dict[str, Any], subject: str, state: str, advice: str | None
) -> None:
    found = one(judge(make_facts(**changes)), subject)
    assert found.state == state
    assert (found.advice is None) if advice is None else (advice in str(found.advice))


def test_a_shell_that_lacks_only_taskset_is_good_enough() -> None:
    assert all(f.subject != "shell" for f in judge(make_facts(lacks=["taskset"])))


def test_another_phone_than_the_inventory_says_is_told() -> None:
    device = msgspec.structs.replace(PHONE, profile="pixel-8")
    assert one(judge(make_facts(), device), "phone").state == "warn"


# --- programs ----------------------------------------------------------------------------------------------------------


def test_phones_are_known_by_their_addresses() -> None:
    assert is_phone(PHONE)
    assert not is_phone(msgspec.structs.replace(PHONE, address="ssh://pi"))


@pytest.mark.parametrize(
    ("command", "runtimes"),
    [
        ((), ("litert", "onnxruntime")),
        (("/a/onnxruntime_perf_test", "/a/libonnxruntime.so"), ("onnxruntime",)),
        (("/a/android_aarch64_benchmark_model",), ("litert",)),
    ],
)
def test_a_phones_runtimes_are_those_of_its_programs(command: tuple[str, ...], runtimes: tuple[str, ...]) -> None:
    device = msgspec.structs.replace(PHONE, command=command)
    assert with_programs(load_profile("android-arm64"), device).runtimes == runtimes


def test_a_board_keeps_its_runtimes() -> None:
    profile = load_profile("pi4")
    assert with_programs(profile, PHONE) is profile


def test_programs_are_files_that_are_there_and_known(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="no program is named"):
        programs_of(PHONE)
    with pytest.raises(ConfigError, match="is not there"):
        programs_of(msgspec.structs.replace(PHONE, command=(str(tmp_path / "benchmark_model"),)))
    (tmp_path / "tool").write_bytes(b"x")
    with pytest.raises(ConfigError, match="none of tool is a program"):
        programs_of(msgspec.structs.replace(PHONE, command=(str(tmp_path / "tool"),)))
    (tmp_path / "benchmark_model").write_bytes(b"x")
    found = programs_of(
        msgspec.structs.replace(PHONE, command=(str(tmp_path / "tool"), str(tmp_path / "benchmark_model")))
    )
    assert [content.label for content in found] == ["tool", "benchmark_model"]


def test_what_nobody_could_check_is_refused_before_anything_is_built() -> None:
    only = {"runtimes": [ORT]}
    with pytest.raises(AgentError, match="cannot be checked on the phone") as caught:
        refuse_unchecked(only, PHONE, ["onnxruntime"], accept=False)
    assert caught.value.code == "unchecked"
    assert "--accept-unchecked" in str(caught.value.hint)
    refuse_unchecked(only, PHONE, ["onnxruntime"], accept=True)
    refuse_unchecked({"runtimes": [ORT, LITERT]}, PHONE, ["onnxruntime", "litert"], accept=False)
    refuse_unchecked({"runtimes": [{"name": "onnxruntime"}]}, PHONE, ["onnxruntime"], accept=False)
