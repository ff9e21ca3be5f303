"""What the device says of itself: pure parsers on recorded files of real boards, and readers on made-up trees."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent import clock, conditions
from edgeopt_agent.errors import AgentError, printable, translate
from edgeopt_agent.probes import board, cpu, memory, python, thermal
from tests.agent.client import Client

PI4 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU part\t: 0xd08

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""

OLD_ARM = """Processor\t: ARMv7 Processor rev 2 (v7l)
processor\t: 0
BogoMIPS\t: 1200.00

processor\t: 1
BogoMIPS\t: 1200.00

Features\t: swp half thumb neon vfpv3
CPU part\t: 0xc09
"""


def tree(root: Path, files: dict[str, str | None]) -> str:
    """Make a tree of files; None is a folder that cannot be read as a file."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if text is None else path.write_text(text)
    return str(root)


class TestCpu:
    def test_a_raspberry_pi_4(self) -> None:
        assert cpu.parse_cpuinfo(PI4) == {
            "model": None,
            "parts": ["0xd08"],
            "features": ["asimd", "cpuid", "crc32", "evtstrm", "fp"],
            "processors": 2,
        }

    def test_an_old_kernel_that_lists_features_once(self) -> None:
        info = cpu.parse_cpuinfo(OLD_ARM)
        assert (info["model"], info["parts"], info["processors"]) == ("ARMv7 Processor rev 2 (v7l)", ["0xc09"], 2)
        assert "neon" in info["features"]

    def test_a_feature_counts_only_when_every_core_has_it(self) -> None:
        text = (
            "processor: 0\nFeatures: asimd asimdhp\nCPU part: 0xd05\n\nprocessor: 1\nFeatures: asimd\nCPU part: 0x002\n"
        )
        assert cpu.parse_cpuinfo(text)["features"] == ["asimd"]
        assert cpu.parse_cpuinfo(text)["parts"] == ["0x002", "0xd05"]

    def test_the_recorded_boards_are_read(self, shared_testdata: Path) -> None:
        files = sorted((shared_testdata / "captures" / "arm_cpuinfo" / "cpuinfo").glob("*.txt"))
        assert files
        for path in files:
            info = cpu.parse_cpuinfo(path.read_text(errors="replace"))
            is_arm = "CPU part" in path.read_text(errors="replace")
            assert info["features"], path.name
            assert bool(info["parts"]) == is_arm, path.name
            assert all(part.startswith("0x") for part in info["parts"])

    def test_the_recorded_trees_are_read(self, shared_testdata: Path, tmp_path: Path) -> None:
        archives = sorted((shared_testdata / "captures" / "lscpu_dumps").glob("*.tar.gz"))
        assert archives
        for path in archives:
            with tarfile.open(path) as archive:
                archive.extractall(tmp_path / path.name)  # noqa: S202 - recorded by hand, and full of links that the data filter refuses
            (root,) = (tmp_path / path.name).iterdir()
            facts = cpu.facts(str(root))
            assert facts["cores"] > 0
            assert facts["features"], path.name

    @given(st.text())
    def test_any_cpuinfo_is_read_without_an_error(self, text: str) -> None:
        info = cpu.parse_cpuinfo(text)
        assert json.dumps(info, allow_nan=False)
        assert all(item.isprintable() for item in [info["model"] or "", *info["parts"], *info["features"]])

    def test_ticks_are_busy_unless_idle_or_waiting(self) -> None:
        stat = cpu.parse_stat("cpu  10 1 5 100 20 2 3 4 9 9\ncpu0 1 1 1 1\nctxt 77\n")
        assert stat == {"busy_ticks": 25, "total_ticks": 145, "context_switches": 77}

    def test_a_short_line_of_an_old_kernel_is_read(self) -> None:
        assert cpu.parse_stat("cpu 1 2 3 4")["total_ticks"] == 10

    @given(st.text())
    def test_any_stat_and_load_are_read_without_an_error(self, text: str) -> None:
        cpu.parse_stat(text)
        cpu.parse_load(text)

    @pytest.mark.parametrize(
        ("text", "load"),
        [("0.52 0.58 0.59 1/467 12345\n", 0.52), ("", None), ("nan 1 1", None), ("x", None), ("-1", None)],
    )
    def test_the_load(self, text: str, load: float | None) -> None:
        assert cpu.parse_load(text) == load

    def test_clocks_and_governors(self, tmp_path: Path) -> None:
        base = "/sys/devices/system/cpu"
        files = {f"{base}/cpu{n}/cpufreq/{name}": text for n in (0, 1, 10) for name, text in
                 (("scaling_cur_freq", f"{1000 + n}\n"), ("scaling_governor", "ondemand\n"), ("cpuinfo_max_freq", "1800000\n"))}  # fmt: skip
        root = tree(tmp_path, {**files, f"{base}/cpufreq/x": "", f"{base}/cpuidle/x": "", "/proc/cpuinfo": PI4})
        assert cpu.frequencies_khz(root) == {"cpu0": 1000, "cpu1": 1001, "cpu10": 1010}
        assert cpu.governor(root) == ("ondemand", None)
        facts = cpu.facts(root)
        assert (facts["cores"], facts["max_mhz"], facts["model"]) == (3, 1800, None)
        assert facts["model_reason"]

    def test_kinds_of_cores_the_fastest_first(self, tmp_path: Path) -> None:
        base = "/sys/devices/system/cpu"
        kinds = {0: (406, 1803000), 1: (406, 1803000), 4: (1024, 2850000), 5: (1024, 2850000), 6: (1024, 2850000)}
        files = {f"{base}/cpu{n}/cpu_capacity": f"{capacity}\n" for n, (capacity, _) in kinds.items()}
        files |= {f"{base}/cpu{n}/cpufreq/cpuinfo_max_freq": f"{khz}\n" for n, (_, khz) in kinds.items()}
        root = tree(tmp_path, files)
        assert cpu.clusters(root, frozenset({0, 1, 4, 5})) == [
            {"cores": [4, 5], "capacity": 1024, "max_mhz": 2850},
            {"cores": [0, 1], "capacity": 406, "max_mhz": 1803},
        ]

    def test_cores_of_which_the_kernel_says_nothing_are_one_kind(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {f"/sys/devices/system/cpu/cpu{n}/x": "" for n in range(2)})
        assert cpu.clusters(root, frozenset({0, 1})) == [{"cores": [0, 1], "capacity": None, "max_mhz": None}]
        assert cpu.clusters(str(tmp_path / "none")) == []

    def test_without_cpufreq_there_is_a_reason(self, tmp_path: Path) -> None:
        assert cpu.frequencies_khz(str(tmp_path)) is None
        assert cpu.governor(str(tmp_path))[0] is None
        facts = cpu.facts(str(tmp_path))
        assert facts["max_mhz"] is None
        assert "cpuinfo" in facts["model_reason"]


class TestMemory:
    def test_sizes_are_bytes(self) -> None:
        assert memory.parse_sizes("MemTotal:  100 kB\nHugePages_Total: 5\nVmHWM:\t 7 kB\n") == {
            "MemTotal": 102400,
            "VmHWM": 7168,
        }

    def test_an_old_kernel_that_does_not_say_what_is_available(self) -> None:
        assert memory.available_bytes({"MemFree": 1, "Buffers": 2, "Cached": 3}) == 6
        assert memory.available_bytes({}) is None

    def test_swap(self) -> None:
        assert memory.swap_used_bytes({"SwapTotal": 10, "SwapFree": 4}) == 6
        assert memory.swap_used_bytes({}) is None

    def test_a_process_tells_peak_anonymous_file_and_shared_apart(self) -> None:
        status = "VmHWM:\t   123 kB\nRssAnon:\t  100 kB\nRssFile:\t   20 kB\nRssShmem:\t    3 kB\n"
        found = memory.of_process(memory.parse_sizes(status))
        assert found == {
            "peak_rss_bytes": 123 << 10,
            "anon_bytes": 100 << 10,
            "file_bytes": 20 << 10,
            "shared_bytes": 3 << 10,
        }

    def test_an_old_kernel_tells_only_the_peak(self) -> None:
        found = memory.of_process({"VmHWM": 5})
        assert (found["peak_rss_bytes"], found["anon_bytes"]) == (5, None)
        assert "4.5" in found["anon_bytes_reason"]

    @given(st.text())
    def test_any_text_is_read_without_an_error(self, text: str) -> None:
        memory.parse_sizes(text)
        memory.parse_counters(text)
        memory.of_process(memory.parse_sizes(text))

    def test_facts_have_reasons_for_what_is_not_there(self, tmp_path: Path) -> None:
        facts = memory.facts(str(tmp_path))
        assert (facts["total_bytes"], facts["swap_bytes"]) == (None, None)
        assert facts["total_bytes_reason"]
        assert facts["page_bytes"] == os.sysconf("SC_PAGE_SIZE")

    def test_the_own_peak_is_a_number(self) -> None:
        assert (memory.own_peak_bytes() or 0) > 1 << 20


class TestThermal:
    @pytest.mark.parametrize(
        ("text", "degrees"),
        [("48312\n", 48.312), ("48\n", 48.0), ("-5000", -5.0), ("-256000", None), ("-256", None), ("0", 0.0), ("", None), ("x", None), ("9999999", None), ("nan", None)],
    )  # fmt: skip
    def test_a_temperature(self, text: str, degrees: float | None) -> None:
        assert thermal.parse_temperature(text) == degrees

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("50005\n", 0x50005),
            ("throttled=0x50000", 0x50000),
            ("0x0", 0),
            ("0", 0),
            ("", None),
            ("-1", None),
            ("x", None),
            ("1ffffffff", None),
        ],
    )
    def test_the_throttle_word_is_hexadecimal(self, text: str, word: int | None) -> None:
        assert thermal.parse_throttled(text) == word

    @given(st.text())
    def test_any_text_is_read_without_an_error(self, text: str) -> None:
        value = thermal.parse_temperature(text)
        assert value is None or -50 <= value <= 150
        thermal.parse_throttled(text)

    def test_zones_of_the_same_type_get_names_of_their_own(self, tmp_path: Path) -> None:
        zone = "/sys/class/thermal/thermal_zone"
        root = tree(tmp_path, {f"{zone}0/type": "cpu\n", f"{zone}0/temp": "40000", f"{zone}1/type": "cpu", f"{zone}1/temp": "41000",
                               f"{zone}2/type": "off", f"{zone}2/temp": "-256000", f"{zone}3/temp": "42000", f"{zone}10/type": "\x1b[31m\n", f"{zone}10/temp": "43000"})  # fmt: skip
        found = thermal.sensors(root)
        assert thermal.temperatures_c(found, root) == {"cpu": 40.0, "cpu 2": 41.0, "thermal_zone3": 42.0, "[31m": 43.0}

    def test_hwmon_is_read_where_there_are_no_zones(self, tmp_path: Path) -> None:
        chip = "/sys/class/hwmon/hwmon0"
        root = tree(
            tmp_path,
            {
                f"{chip}/name": "coretemp\n",
                f"{chip}/temp1_input": "50000",
                f"{chip}/temp1_label": "Core 0\n",
                f"{chip}/temp2_input": "51000",
            },
        )
        assert thermal.temperatures_c(thermal.sensors(root), root) == {"coretemp Core 0": 50.0, "coretemp": 51.0}

    def test_no_sensor_is_not_zero_degrees(self, tmp_path: Path) -> None:
        assert thermal.sensors(str(tmp_path)) == []
        assert thermal.temperatures_c([], str(tmp_path)) is None

    def test_a_sensor_that_vanishes_is_left_out(self, tmp_path: Path) -> None:
        assert thermal.temperatures_c([{"name": "cpu", "path": "/sys/gone"}], str(tmp_path)) is None

    def test_the_recorded_tree_is_read(self, shared_testdata: Path, tmp_path: Path) -> None:
        recorded = json.loads((shared_testdata / "captures" / "node_exporter" / "sys.json").read_text())
        root = _restore(recorded, tmp_path)
        assert thermal.temperatures_c(thermal.sensors(root), root)
        assert thermal.cooling_state(root) is not None

    @pytest.mark.parametrize(
        "path",
        ["/sys/devices/platform/soc/soc:firmware/get_throttled", "/sys/devices/platform/soc@107c000000/get_throttled"],
    )
    def test_the_firmware_of_a_raspberry_pi(self, tmp_path: Path, path: str) -> None:
        assert thermal.throttled(tree(tmp_path, {path: "50005\n"})) == 0x50005

    def test_no_firmware_no_word(self, tmp_path: Path) -> None:
        assert thermal.throttled(str(tmp_path)) is None

    def test_counters_of_x86_and_jetson(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3", "/sys/class/hwmon/hwmon0/name": "soctherm_oc\n",
                               "/sys/class/hwmon/hwmon0/oc1_event_cnt": "4", "/sys/class/hwmon/hwmon0/oc1_throt_en": "1"})  # fmt: skip
        assert thermal.throttle_count(root) == 7
        assert thermal.throttle_count(str(tmp_path / "none")) is None

    def test_a_fan_does_not_slow_cores_down(self, tmp_path: Path) -> None:
        device = "/sys/class/thermal/cooling_device"
        root = tree(tmp_path, {f"{device}0/type": "pwm-fan", f"{device}0/cur_state": "4"})
        assert thermal.cooling_state(root) is None
        tree(tmp_path, {f"{device}1/type": "thermal-cpufreq-0", f"{device}1/cur_state": "2"})
        assert thermal.cooling_state(root) == 2


def _restore(recorded: dict[str, Any], folder: Path) -> str:
    links = []
    for name, content in recorded.items():
        path = folder / name.lstrip("/")
        if isinstance(content, str):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        elif "symlink" in content:
            links.append((path, content["symlink"]))
        else:
            path.mkdir(parents=True, exist_ok=True)
    for path, target in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return str(folder)


class TestBoardAndPython:
    def test_a_board_by_its_device_tree(self, tmp_path: Path) -> None:
        root = tree(
            tmp_path,
            {
                "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
                "/proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
                "/proc/cpuinfo": PI4,
            },
        )
        assert board.facts(root) == {
            "dt_model": "Raspberry Pi 4 Model B Rev 1.4",
            "dt_compatible": ["raspberrypi,4-model-b", "brcm,bcm2711"],
            "cpuinfo": {"model": "Raspberry Pi 4 Model B Rev 1.4", "hardware": "BCM2835"},
            "virtual": None,
            "virtual_reason": "nothing shows that it is a virtual machine",
        }

    def test_an_older_kernel_of_a_pi_names_its_chip(self) -> None:
        assert board.parse_identity("processor\t: 0\nHardware\t: BCM2835\nRevision\t: a02082\n") == {
            "hardware": "BCM2835",
            "revision": "a02082",
        }

    @given(st.text())
    def test_any_cpuinfo_names_a_board_or_none(self, text: str) -> None:
        found = board.parse_identity(text)
        assert set(found) <= {"model", "hardware", "revision"}
        assert all(value and value.isprintable() and len(value) <= 120 for value in found.values())

    def test_qemu_is_known_also_where_it_has_the_name_of_a_board(self, tmp_path: Path) -> None:
        """Its machine `virt` by the device tree, its Raspberry Pis by their SD card."""
        pi = {"/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"}
        virt = {"/proc/device-tree/compatible": "raspberrypi,4-model-b\0linux,dummy-virt\0"}
        card = {"/sys/block/mmcblk0/device/name": "QEMU!\n"}
        true_card = {"/sys/block/mmcblk0/device/name": "SC32G\n"}

        shows = [
            board.facts(tree(tmp_path / str(number), {**pi, **files}))["virtual"]
            for number, files in enumerate((virt, card, true_card))
        ]

        assert shows == ["its device tree says linux,dummy-virt", "its SD card is called QEMU!", None]

    def test_no_device_tree_has_a_reason(self, tmp_path: Path) -> None:
        facts = board.facts(str(tmp_path))
        assert facts["dt_model"] is None
        assert "device-tree" in facts["dt_model_reason"]

    @pytest.mark.parametrize(
        ("machine", "bits", "arch"),
        [("aarch64", 32, "armv7l"), ("aarch64", 64, "aarch64"), ("x86_64", 32, "i686"), ("armv7l", 32, "armv7l")],
    )
    def test_the_userland_decides_not_the_kernel(self, machine: str, bits: int, arch: str) -> None:
        assert python.userland(machine, bits) == arch


@pytest.mark.parametrize(("seconds", "is_plausible"), [(0, False), (1.7e9, False), (1.8e9, True)])
def test_a_clock_before_this_code_was_written_is_wrong(seconds: float, is_plausible: bool) -> None:
    assert clock.is_plausible(seconds) is is_plausible


def test_a_time_stamp_is_to_the_millisecond() -> None:
    assert clock.utc_text(1_700_000_000.1239) == "2023-11-14T22:13:20.123Z"


@given(st.text())
def test_text_of_a_device_cannot_steer_a_terminal(text: str) -> None:
    assert printable(text, limit=50).isprintable()
    assert len(printable(text, limit=50)) <= 50


@pytest.mark.parametrize(
    ("number", "code"),
    [(28, "disk-full"), (122, "disk-full"), (30, "read-only"), (13, "read-only"), (5, "io-error"), (2, "io-error")],
)
def test_errors_of_the_system_are_named_with_their_path(tmp_path: Path, number: int, code: str) -> None:
    error = translate(OSError(number, os.strerror(number), str(tmp_path / "a" / "b")), "/")
    assert isinstance(error, AgentError)
    assert error.code == code
    assert error.detail["path"] == str(tmp_path / "a" / "b")
    assert error.detail["free_bytes"] > 0


class TestFacts:
    def test_they_have_the_shape_that_the_document_says(self, client: Client) -> None:
        facts = client.call("probe")
        wanted = {"system", "kernel", "machine", "libc", "python", "cpu", "memory", "board", "disk", "clock", "governor", "sensors", "runtimes",
                  "runtimes_reason", "hostname", "user", "edgeopt_root"}  # fmt: skip
        assert wanted <= set(facts)
        assert facts["python"]["abi_tag"].startswith("cp3")
        assert facts["cpu"]["usable_cores"] == len(os.sched_getaffinity(0))
        assert facts["disk"]["free_bytes"] > 0
        assert facts["sensors"]["power"] is None
        assert facts["sensors"]["power"] or facts["sensors"]["power_reason"]
        assert _unexplained(facts) == []

    def test_a_sample_is_a_series_of_conditions(self, client: Client) -> None:
        found = client.call("sample", seconds=0.2, period_s=0.05)["conditions"]
        assert 2 <= len(found) <= 5
        assert [c["monotonic_ns"] for c in found] == sorted(c["monotonic_ns"] for c in found)
        assert all(_unexplained(c) == [] for c in found)


def _unexplained(record: dict[str, Any]) -> list[str]:
    """Return the fields that are null without a reason."""
    bad = [name for name, value in record.items() if value is None and not record.get(name + "_reason")]
    return bad + [
        f"{name}.{inner}"
        for name, value in record.items()
        if isinstance(value, dict) and name != "libc"
        for inner in _unexplained(value)
    ]


class TestFlags:
    before: ClassVar[dict[str, Any]] = {"monotonic_ns": 0, "unix_s": 100.0, "cpu_busy_ticks": 0, "cpu_total_ticks": 0, "throttled": None, "swap_used_bytes": 0,
                              "cooling_state": None, "throttle_count": None}  # fmt: skip

    def flags(self, **after: Any) -> list[str]:
        quiet = {**self.before, "monotonic_ns": 10**9, "unix_s": 101.0, "cpu_busy_ticks": 100, "cpu_total_ticks": 400}
        changes = {name: value for name, value in after.items() if name != "before"}
        return conditions.flags(
            {**self.before, **after.get("before", {})}, {**quiet, **changes}, own_cpu_s=1.0, ticks_per_s=100
        )

    def test_a_quiet_device_casts_no_doubt(self) -> None:
        assert self.flags() == []

    @pytest.mark.parametrize(("busy", "expected"), [(112, []), (113, ["foreign-load"]), (20, [])])
    def test_others_may_use_three_percent(self, busy: int, expected: list[str]) -> None:
        assert self.flags(cpu_busy_ticks=busy) == expected

    def test_a_few_ticks_of_a_short_block_are_noise(self) -> None:
        assert self.flags(cpu_busy_ticks=105, cpu_total_ticks=110) == []

    @pytest.mark.parametrize(
        ("first", "last", "expected"),
        [
            (0, 0, []),
            (0, 0x4, ["throttled"]),
            (0x1, 0, ["throttled"]),
            (0, 0x50000, ["throttled"]),
            (0x50000, 0x50000, []),
            (0x10000, 0x50000, ["throttled"]),
        ],
    )
    def test_throttling_now_or_newly_since_boot(self, first: int, last: int, expected: list[str]) -> None:
        assert self.flags(before={"throttled": first}, throttled=last) == expected

    def test_a_counter_that_rises_and_a_cooler_that_acts_are_throttling(self) -> None:
        assert self.flags(before={"throttle_count": 5}, throttle_count=6) == ["throttled"]
        assert self.flags(before={"throttle_count": 5}, throttle_count=5) == []
        assert self.flags(cooling_state=1) == ["throttled"]

    @pytest.mark.parametrize(("unix_s", "expected"), [(101.2, []), (102.0, ["clock-step"]), (-86300.0, ["clock-step"])])
    def test_a_wall_clock_that_jumps(self, unix_s: float, expected: list[str]) -> None:
        assert self.flags(unix_s=unix_s) == expected

    @pytest.mark.parametrize(("swap", "expected"), [(1 << 20, []), (2 << 20, ["swapped"]), (None, [])])
    def test_swapping(self, swap: int | None, expected: list[str]) -> None:
        assert self.flags(swap_used_bytes=swap) == expected


def test_conditions_of_a_bare_tree_are_null_with_reasons(tmp_path: Path) -> None:
    record = conditions.observe(str(tmp_path))
    assert record["cpu_busy_ticks"] is None
    assert _unexplained(record) == []
    assert conditions.flags(record, record, own_cpu_s=0, ticks_per_s=100) == []


def test_conditions_of_this_device_are_json(start: Callable[..., Client]) -> None:
    assert json.dumps(conditions.observe(), allow_nan=False)
