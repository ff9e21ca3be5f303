"""A device says which kind of board it is, or that nobody knows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.profiles.load import list_profiles, load_profile
from edgeopt.profiles.recognise import PI_TYPES, match_profile, pi_model, recognise

PROFILES = list_profiles()


def facts(machine: str, bits: int = 64, parts: tuple[str, ...] = (), **board: Any) -> dict[str, Any]:
    return {"machine": machine, "python": {"bits": bits}, "board": board, "cpu": {"parts": list(parts)}}


def phone(parts: tuple[str, ...] = (), **android: str) -> dict[str, Any]:
    return {"system": "Android", "machine": "aarch64", "android": android, "cpu": {"parts": list(parts)}}


@pytest.mark.parametrize(
    ("found", "profile"),
    [
        (facts("aarch64", dt_compatible=["raspberrypi,4-model-b", "brcm,bcm2711"]), "pi4"),
        (facts("aarch64", dt_compatible=["raspberrypi,400", "brcm,bcm2711"]), "pi4"),
        (facts("aarch64", dt_compatible=["linux,dummy-virt"], dt_model="Raspberry Pi 4 Model B Rev 1.4"), "pi4"),
        (facts("aarch64", dt_compatible=[], dt_model="Raspberry Pi 5 Model B Rev 1.0"), "pi5"),
        (facts("aarch64", dt_compatible=None, dt_model="Raspberry Pi Zero 2 W Rev 1.0"), "pi-zero-2w"),
        (facts("aarch64", dt_model="Raspberry Pi 3 Model B Plus Rev 1.3"), "pi3"),
        (facts("aarch64", dt_model="Raspberry Pi 3 Model B"), "pi3"),
        (facts("aarch64", cpuinfo={"model": "Raspberry Pi 4 Model B Rev 1.1"}), "pi4"),
        (facts("aarch64", cpuinfo={"hardware": "BCM2835", "revision": "c03111"}), "pi4"),
        (facts("aarch64", cpuinfo={"hardware": "Allwinner", "revision": "c03111"}), "generic-aarch64"),
        (facts("aarch64", dt_model="NVIDIA Jetson Orin Nano Developer Kit"), "jetson-orin-nano"),
        (facts("aarch64", dt_model="NVIDIA Jetson Orin Nano Developer Kit Super"), "jetson-orin-nano"),
        (facts("aarch64", dt_compatible=["nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234"]), "jetson-orin-nano"),
        (facts("aarch64", dt_compatible=["nvidia,p3768-0000+p3767-0000", "nvidia,tegra234"]), "jetson-orin-nx"),
        (facts("aarch64", dt_compatible=["nvidia,p3509-0000+p3767-0001", "nvidia,tegra234"]), "jetson-orin-nx"),
        (facts("aarch64", dt_compatible=["nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"]), "jetson-agx-orin"),
        (facts("aarch64", dt_compatible=["nvidia,p3449-0000+p3668-0000", "nvidia,tegra194"]), "jetson-xavier-nx"),
        (facts("aarch64", dt_compatible=["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,tegra210"]), "jetson-nano"),
        (facts("aarch64", dt_compatible=["nvidia,p3767-00050", "nvidia,tegra234"]), "generic-aarch64"),
        (facts("aarch64", dt_compatible=["nvidia,p2371-2180", "nvidia,tegra210"]), "generic-aarch64"),
        (facts("aarch64", dt_model="Raspberry Pi 4 Model Bananas"), "generic-aarch64"),
        (facts("aarch64", dt_model="Radxa ROCK 5B"), "generic-aarch64"),
        (facts("aarch64", dt_model=None), "generic-aarch64"),
        (facts("aarch64", parts=("0xd08",)), "generic-aarch64"),
        (facts("arm64"), "generic-aarch64"),
        (facts("x86_64"), "generic-x86_64"),
        (facts("AMD64"), "generic-x86_64"),
        (facts("aarch64", bits=32, dt_model="Raspberry Pi 4 Model B Rev 1.4"), "generic-armv7"),
        (facts("armv7l", bits=32), "generic-armv7"),
        (facts("armv8l", bits=32), "generic-armv7"),
        (facts("armv6l", bits=32), None),
        (facts("x86_64", bits=32), None),
        (phone(model="Pixel 7 Pro", abi="arm64-v8a"), "pixel-7"),
        (phone(soc="sm8650", model="SM-S928B", abi="arm64-v8a"), "snapdragon-8gen3"),
        (phone(platform="kalama", model="CPH2449"), "snapdragon-8gen2"),
        (phone(model="Pixel", abi="arm64-v8a"), "android-arm64"),
        (phone(soc="Tensor G4", model="Pixel 9"), "android-arm64"),
        (phone(model="SM-G900H", abi="armeabi-v7a"), None),
        (phone(model="Pixel 7", abi="armeabi-v7a"), None),
        (phone(model="ASUS_Z00A", abi="x86"), None),
        ({"system": "Android", "machine": "aarch64"}, "android-arm64"),
        ({"machine": "riscv64", "python": None, "board": None}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_board_is_matched_by_what_it_says_it_is(found: dict[str, Any], profile: str | None) -> None:
    """A 32-bit system on a 64-bit kernel is no 64-bit board; a name that only begins alike is another board."""
    assert match_profile(found, PROFILES) == profile


def test_cores_alone_name_no_board_but_say_what_it_is_like() -> None:
    """A Jetson TX1 has the cores of a Jetson Nano."""
    seen = recognise(facts("aarch64", parts=("0xd03",)), PROFILES)
    assert (seen.profile, seen.by, seen.alike) == ("generic-aarch64", "architecture", ("pi-zero-2w", "pi3"))
    assert seen.evidence == "nothing names the board"
    assert recognise(facts("aarch64", parts=("0xd0b", "0xd05")), PROFILES).alike == ()
    eight = facts("aarch64", parts=("0xd03",)) | {"cpu": {"parts": ["0xd03"], "cores": 8}}
    assert recognise(eight, PROFILES).alike == ()
    assert recognise(phone(parts=("0xd4e", "0xd4d", "0xd46")), PROFILES).alike == ("pixel-8",)


def test_a_name_that_no_profile_knows_is_said() -> None:
    assert (
        recognise(facts("aarch64", dt_model="Radxa ROCK 5B"), PROFILES).evidence == "no profile is for 'Radxa ROCK 5B'"
    )
    assert recognise(phone(model="Pixel 9"), PROFILES).evidence == "no profile is for 'Pixel 9'"


def test_cores_that_do_not_go_with_the_name_are_a_doubt() -> None:
    """A device tree can be a wrong one; cores that are off are not missing."""
    seen = recognise(facts("aarch64", parts=("0xd07",), dt_model="Raspberry Pi 4 Model B"), PROFILES)
    assert seen.profile == "pi4"
    assert seen.doubts == (
        "Its device tree says 'Raspberry Pi 4 Model B', but its CPU has cores of part 0xd07, and a Raspberry Pi 4 Model B has 0xd08.",
    )
    half = phone(parts=("0xd05",), model="Pixel 6")
    assert recognise(half, PROFILES).doubts == ()


def test_what_the_cores_can_do_tells_boards_apart() -> None:
    """Phones have the cores of a Raspberry Pi 3, with cryptography, which that does not have."""
    able = facts("aarch64") | {"cpu": {"parts": ["0xd03"], "features": ["asimd", "aes"]}}
    assert recognise(able, PROFILES).alike == ()
    named = able | {"board": {"dt_model": "Raspberry Pi 3 Model B Plus Rev 1.3"}}
    assert recognise(named, PROFILES).doubts == (
        "Its device tree says 'Raspberry Pi 3 Model B Plus Rev 1.3', but its CPU shows aes, which a Raspberry Pi 3 Model B+ does not have.",
    )


def test_the_cores_of_a_virtual_machine_are_no_doubt() -> None:
    """An emulator may tell a device tree of any board; that it is one is said by itself."""
    board = {"dt_model": "Raspberry Pi 3 Model B", "virtual": "its SD card is called QEMU!"}
    seen = recognise(facts("aarch64") | {"board": board, "cpu": {"parts": ["0xd07"], "features": ["aes"]}}, PROFILES)
    assert (seen.profile, seen.doubts) == ("pi3", ())


def test_a_32_bit_system_on_a_known_board_is_said() -> None:
    seen = recognise(facts("aarch64", bits=32, dt_model="Raspberry Pi 4 Model B Rev 1.4"), PROFILES)
    assert (seen.profile, seen.by) == ("generic-armv7", "architecture")
    assert seen.doubts == (
        "Its device tree says 'Raspberry Pi 4 Model B Rev 1.4', whose profile `pi4` is for 64-bit ARM Linux, and this is 32-bit ARM Linux.",
    )


def test_a_phone_of_another_kind_than_its_profile_is_said() -> None:
    seen = recognise(phone(model="Pixel 7", abi="armeabi-v7a"), PROFILES)
    assert seen.evidence == "there is no profile for 32-bit ARM Android"
    assert "whose profile `pixel-7` is for 64-bit ARM Android, and this is 32-bit ARM Android" in seen.doubts[0]


def test_a_profile_of_the_users_own_fits_as_well(tmp_path: Any) -> None:
    """It extends the built-in one, and so has the same names."""
    (tmp_path / "rover.toml").write_text('extends = "pi4"\n')
    profiles = (*PROFILES, load_profile("rover", tmp_path))
    seen = recognise(facts("aarch64", dt_model="Raspberry Pi 4 Model B"), profiles)
    assert (seen.profile, seen.also, seen.fits) == ("pi4", ("rover",), ("pi4", "rover"))


@pytest.mark.parametrize(
    ("revision", "model"),
    [
        ("a02082", "Raspberry Pi 3 Model B"),
        ("c03114", "Raspberry Pi 4 Model B"),
        ("902120", "Raspberry Pi Zero 2 W"),
        ("d04170", "Raspberry Pi 5 Model B"),
        ("2a02082", "Raspberry Pi 3 Model B"),
        ("000e", None),
        ("00000e", None),
        ("900092", None),
        ("", None),
        (None, None),
        ("zzzzzz", None),
    ],
)
def test_a_pi_s_revision_code_says_its_model(revision: str | None, model: str | None) -> None:
    """Bits 4 to 11, in codes of the new style; bit 25 only says that the warranty is void."""
    assert pi_model(revision) == model


def test_every_pi_that_a_code_names_is_in_the_device_tree_s_words() -> None:
    """So that both find the same profile."""
    known = {model for profile in PROFILES for model in profile.match.dt_model}
    assert {model for model in PI_TYPES.values() if model not in known} == {"Raspberry Pi 3 Model A Plus"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "system",
        "machine",
        "python",
        "bits",
        "board",
        "dt_model",
        "dt_compatible",
        "cpuinfo",
        "model",
        "hardware",
        "revision",
        "android",
        "abi",
        "soc",
        "platform",
        "cpu",
        "parts",
        "cores",
    ]
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(KEYS, ANYTHING | st.dictionaries(KEYS, ANYTHING, max_size=5), max_size=8))
def test_any_facts_are_recognised_as_something_or_nothing(found: dict[str, Any]) -> None:
    """They come from the device, which may say anything."""
    seen = recognise(found, PROFILES)
    assert seen.profile is None or seen.profile in {profile.name for profile in PROFILES}
