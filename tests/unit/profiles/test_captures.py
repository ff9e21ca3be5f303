"""Recordings through the agent's parsers and the rule of recognition: a few that we wrote in the form of real ones, and real ones where they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edgeopt.profiles.load import list_profiles
from edgeopt.profiles.recognise import recognise
from tests.captures import Case, facts_of, machine_of, outcome, properties, read_cases

PROFILES = list_profiles()

CORE = "processor\t: {}\nBogoMIPS\t: 49.15\nFeatures\t: {}\nCPU implementer\t: 0x41\nCPU part\t: {}\n\n"
PI_4 = "".join(CORE.format(n, "fp asimd evtstrm crc32 cpuid", "0xd08") for n in range(4))
PI_3_32 = "".join(CORE.format(n, "half thumb fastmult vfp edsp neon vfpv3 vfpd32 crc32", "0xd03") for n in range(4))
BIG_LITTLE = "".join(
    CORE.format(n, "fp asimd aes" + (" asimdhp" if n < 4 else ""), "0xd05" if n < 4 else "0x002") for n in range(8)
)


def test_a_pi_whose_device_tree_is_hidden_is_known_by_cpuinfo() -> None:
    """As in a container."""
    text = PI_4 + "Hardware\t: BCM2835\nRevision\t: c03114\nSerial\t\t: 0\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
    seen = recognise(facts_of(text, "aarch64"), PROFILES)
    assert (seen.profile, seen.by, seen.evidence) == (
        "pi4",
        "name",
        "/proc/cpuinfo says 'Raspberry Pi 4 Model B Rev 1.4'",
    )


def test_an_old_pi_with_a_32_bit_system_is_known_by_its_revision() -> None:
    text = PI_3_32 + "Hardware\t: BCM2709\nRevision\t: a02082\n"
    seen = recognise(facts_of(text, machine_of(text, "")), PROFILES)
    assert seen.profile == "generic-armv7"
    assert (
        "Its revision code says 'Raspberry Pi 3 Model B', whose profile `pi3` is for 64-bit ARM Linux" in seen.doubts[0]
    )


def test_a_feature_of_the_little_cores_is_no_feature_of_the_phone() -> None:
    """As on an Exynos 9810, whose kernel shows float16 that only the little cores have."""
    assert "asimdhp" not in facts_of(BIG_LITTLE, "aarch64")["cpu"]["features"]


def test_a_phone_is_known_by_its_properties() -> None:
    table = {"ro.product.model": "Pixel 6a", "ro.soc.model": "Tensor", "ro.product.cpu.abi": "arm64-v8a"}
    seen = recognise(facts_of(BIG_LITTLE, "aarch64", properties(table)), PROFILES)
    assert (seen.profile, seen.evidence) == ("pixel-6", "its ro.product.model is 'Pixel 6a'")
    assert "but its CPU has cores of part 0x002" in seen.doubts[0]


@pytest.mark.parametrize(
    ("right", "really", "machine", "text", "found"),
    [
        ("generic-aarch64", "generic-aarch64", "aarch64", PI_4, "ambiguous"),
        ("generic-aarch64", "pi4", "aarch64", PI_4, "ambiguous"),
        ("generic-aarch64", "pi5", "aarch64", PI_4, "wrong"),
        ("pi4", "pi4", "aarch64", PI_4, "wrong"),
        ("generic-aarch64", "generic-aarch64", "aarch64", BIG_LITTLE, "right"),
        (None, None, "riscv64", "", "right"),
    ],
)
def test_what_counts_as_right(right: str | None, really: str | None, machine: str, text: str, found: str) -> None:
    case = Case("", "", facts_of(text, machine), right, really)
    assert outcome(case, recognise(case.facts, PROFILES)) == found


def test_no_recorded_board_is_taken_for_another(shared_testdata: Path) -> None:
    cases = read_cases(shared_testdata / "captures")
    outcomes = Counter(outcome(case, recognise(case.facts, PROFILES)) for case in cases)
    assert sum(outcomes.values()) >= 200
    assert outcomes["wrong"] == 0
    assert outcomes["ambiguous"] <= 4


def test_a_recorded_jetson_tx1_is_no_jetson_nano(shared_testdata: Path) -> None:
    """They have one chip."""
    (case,) = (c for c in read_cases(shared_testdata / "captures") if c.name == "jetson-tx1")
    assert recognise(case.facts, PROFILES).profile == "generic-aarch64"
