"""The profiles that edgeopt brings: complete, and true to each other."""

from __future__ import annotations

import re

import pytest

from edgeopt.compiler.recipes import get_recipe
from edgeopt.domain.board import RuntimeName, System
from edgeopt.domain.device import Profile
from edgeopt.measure.wheels import version_floors
from edgeopt.profiles.load import list_profiles, load_profile

PROFILES = list_profiles()
BOARDS = [profile for profile in PROFILES if not profile.name.startswith(("generic", "local", "android"))]
SYSTEMS = {system.name: system for profile in PROFILES for system in profile.systems}
FIELDS = set(Profile.__struct_fields__)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_profile_is_complete(profile: Profile) -> None:
    """What every kind of board has: something to try, something to say, and where it all comes from."""
    assert profile.title
    assert profile.runtimes
    assert profile.recipes
    assert profile.notes
    assert profile.sources
    assert profile.systems or profile.name == "local"
    assert (profile.power_sensor is None) == (profile.power_reason is not None)
    assert profile.fp16 == ("asimdhp" in profile.isa) == ("fp16" in profile.recipes)
    for name in profile.recipes:
        assert get_recipe(name).name == name
    for source in profile.sources:
        assert set(source.about) <= FIELDS, f"no such field: {source.about}"


@pytest.mark.parametrize("profile", BOARDS, ids=lambda profile: profile.name)
def test_a_board_is_described(profile: Profile) -> None:
    """Its chip, cores and memory; and each fact that matters has a source of its own."""
    assert profile.soc
    assert profile.cores == sum(cluster.count for cluster in profile.clusters)
    assert all(cluster.part and cluster.mhz for cluster in profile.clusters)
    clocks = [cluster.mhz or 0 for cluster in profile.clusters]
    assert clocks == sorted(clocks, reverse=True)
    assert profile.ram_mb == tuple(sorted(profile.ram_mb)) != ()
    assert profile.isa
    assert set(profile.isa).isdisjoint(profile.isa_absent)
    assert profile.sensors
    match = profile.match
    assert match.dt_model or match.product_model or match.soc_model
    sourced = {field for source in profile.sources for field in source.about}
    wanted = {
        "isa",
        "clusters",
        "match",
        "memory_gb_per_s",
        "runtimes",
        "notes",
        *(["roofline"] if profile.roofline else []),
    }
    assert wanted <= sourced
    parts = {cluster.part.split(":")[1] for cluster in profile.clusters if cluster.part}
    assert set(match.cpu_part) in (set(), parts)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_model_is_written_for_the_oldest_onnx_runtime_that_the_board_may_have(profile: Profile) -> None:
    reading = [system for system in profile.systems if system.max_opset is not None]
    if reading:
        assert profile.max_opset == min(system.max_opset or 0 for system in reading)
        assert profile.max_ir_version == min(system.max_ir_version or 0 for system in reading)
    else:
        assert (profile.max_opset, profile.max_ir_version) == (21, 10)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_int8_is_written_for_the_board_s_kernels(profile: Profile) -> None:
    assert profile.encoding == ("s8s8" if profile.arch in {"aarch64", "armv7l"} else "auto")


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_a_system_has_or_lacks_every_runtime(system: System) -> None:
    """Neither both nor neither; and what it lacks has a way out."""
    runtimes: set[RuntimeName] = {"onnxruntime", "litert", "openvino", "ncnn"}
    has = {wheel.runtime for wheel in system.wheels}
    assert has.isdisjoint(system.lacks)
    assert has | set(system.lacks) == runtimes
    assert ("onnxruntime" in has) == (system.max_opset is not None) == (system.max_ir_version is not None)
    assert bool(has) == (system.resolved is not None) == (system.python is not None) == (system.glibc is not None)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_what_a_system_has_is_as_new_as_edgeopt_needs(system: System) -> None:
    """`device setup` would fetch nothing older."""
    floors = version_floors()
    for wheel in system.wheels:
        floor = floors.get(wheel.runtime, {}).get(wheel.package, "0")
        assert numbers(wheel.version) >= numbers(floor), f"{wheel.package} {wheel.version} < {floor}"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_runtime_that_a_profile_names_is_to_be_had_on_one_of_its_systems(profile: Profile) -> None:
    has = {wheel.runtime for system in profile.systems for wheel in system.wheels}
    assert profile.name == "local" or set(profile.runtimes) - {"command"} <= has
    assert all(system.arch == profile.arch for system in profile.systems)


def test_no_two_profiles_answer_to_one_name() -> None:
    names = [name for profile in PROFILES for name in (profile.name, *profile.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("key", ["dt_model", "dt_compatible", "product_model", "soc_model", "platform"])
def test_no_two_profiles_are_recognised_by_one_string(key: str) -> None:
    strings = [text.casefold() for profile in PROFILES for text in getattr(profile.match, key)]
    assert len(strings) == len(set(strings))


def test_jetpack_4_says_what_to_do_about_its_python() -> None:
    """Its own is older than what the agent runs on."""
    (jetpack,) = load_profile("jetson-nano").systems
    assert jetpack.python == "3.8"
    assert any("apt install python3.8" in note for note in jetpack.notes)


@pytest.mark.parametrize(("name", "version", "opset"), [("jetpack-5", "1.19.2", 21), ("jetpack-6", "1.23.2", 23)])
def test_jetpacks_stop_at_an_old_onnx_runtime(name: str, version: str, opset: int) -> None:
    system = SYSTEMS[name]
    (ort,) = (wheel for wheel in system.wheels if wheel.runtime == "onnxruntime")
    assert (ort.version, system.max_opset) == (version, opset)
    assert re.search(rf"opset {opset} ", " ".join(system.notes))
