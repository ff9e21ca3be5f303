"""Which power sensors a device has, what they tell, and what is said where one is there but cannot be read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent.probes import (
    power,
    power_battery,
    power_hwmon,
    power_ina3221,
    power_odpm,
    power_pi5,
    power_rapl,
)
from edgeopt_agent.probes.power import Sensor
from tests.agent import power_trees as trees
from tests.agent.client import Client

CAPTURES = Path(__file__).parents[3] / "shared" / "testdata" / "captures"


def only(found: tuple[list[Sensor], list[str]]) -> Sensor:
    sensors, reasons = found
    assert reasons == []
    (sensor,) = sensors
    return sensor


def total(sensor: Sensor) -> float:
    values = sensor.read()
    return sum(values[rail] for rail in sensor.facts["total"])


class TestIna3221:
    def test_the_input_rail_of_a_module_is_its_total(self, tmp_path: Path) -> None:
        sensor = only(power_ina3221.find(trees.orin_nano(tmp_path)))
        assert sensor.read() == {"VDD_IN": 5.0, "VDD_CPU_GPU_CV": 2.0, "VDD_SOC": 1.5}
        assert (sensor.facts["class"], total(sensor)) == ("B", 5.0)
        assert "VDD_IN" in sensor.facts["total_rule"]

    def test_without_an_input_rail_the_rails_of_all_chips_are_added_and_that_is_said(self, tmp_path: Path) -> None:
        sensor = only(power_ina3221.find(trees.agx_orin(tmp_path)))
        assert sensor.facts["rails"] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]
        assert total(sensor) == pytest.approx(3 * 1.9 + 0.5)
        assert sensor.facts["class"] == "C"
        assert "without its carrier board" in sensor.facts["total_rule"]

    def test_the_driver_of_jetpack_4(self, tmp_path: Path) -> None:
        sensor = only(power_ina3221.find(trees.nano(tmp_path)))
        assert sensor.read() == {"POM_5V_IN": 0.933, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.084}
        assert total(sensor) == 0.933

    def test_volts_and_amperes_where_that_driver_tells_no_power(self, tmp_path: Path) -> None:
        root = trees.nano(tmp_path)
        for path in tmp_path.rglob("in_power*"):
            path.unlink()
        assert only(power_ina3221.find(root)).read() == {"POM_5V_IN": 0.93, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.08}

    def test_a_negative_current_is_what_the_chip_measured(self, tmp_path: Path) -> None:
        sensor = only(power_ina3221.find(trees.orin_nano(tmp_path, milliamperes=(1000, -8, 300))))
        assert sensor.read()["VDD_CPU_GPU_CV"] == -0.04

    def test_rails_without_a_label_or_switched_off_are_left_out(self, tmp_path: Path) -> None:
        root = trees.orin_nano(tmp_path)
        chip = tmp_path / "sys/class/hwmon/hwmon1"
        (chip / "in2_label").unlink()
        (chip / "in3_enable").write_text("0\n")
        assert only(power_ina3221.find(root)).facts["rails"] == ["VDD_IN"]

    def test_a_rail_that_vanishes_is_a_gap_and_not_zero(self, tmp_path: Path) -> None:
        sensor = only(power_ina3221.find(trees.orin_nano(tmp_path)))
        (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
        assert sensor.read() == {"VDD_CPU_GPU_CV": 2.0, "VDD_SOC": 1.5}

    def test_two_rails_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        root = trees.orin_nano(tmp_path)
        (tmp_path / "sys/class/hwmon/hwmon1/in3_label").write_text("VDD_CPU_GPU_CV\n")
        assert only(power_ina3221.find(root)).facts["rails"] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_CPU_GPU_CV 2"]

    def test_an_unreadable_total_is_no_sensor_but_a_reason(self, tmp_path: Path) -> None:
        root = trees.orin_nano(tmp_path)
        (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
        assert power_ina3221.find(root) == (
            [],
            ["ina3221: /sys/class/hwmon/hwmon1/curr1_input: No such file or directory"],
        )

    @given(st.lists(st.text(max_size=20), min_size=1, max_size=2))
    def test_garbage_is_not_power(self, texts: list[str]) -> None:
        watts = power_ina3221.parse_watts(texts)
        assert watts is None or all(text.strip().lstrip("+-").replace("_", "").isdigit() for text in texts)


class TestPi5:
    @pytest.mark.parametrize("short", [False, True])
    def test_both_forms_of_the_answer(self, tmp_path: Path, *, short: bool) -> None:
        sensor = only(power_pi5.find(trees.pi5(tmp_path), lambda _: trees.pmic_answer(short=short)))
        expected = {rail: volts * amperes for rail, (volts, amperes) in trees.CORE_RAILS.items()}
        assert sensor.read() == pytest.approx(expected)
        assert total(sensor) == pytest.approx(3.72 * 0.0859 + 1.1 * 0.03 + 0.8 * 1.5 + 0.8 * 0.25)
        assert sensor.facts["class"] == "C"

    def test_the_whole_board_is_an_estimate_with_its_uncertainty(self, tmp_path: Path) -> None:
        estimate = only(power_pi5.find(trees.pi5(tmp_path), lambda _: trees.pmic_answer())).facts["estimate"]
        assert (estimate["scale"], estimate["offset_w"], estimate["gain"]) == (1.1451, 0.5879, 0.075)

    def test_without_the_right_to_ask_the_remedy_is_named(self, tmp_path: Path) -> None:
        def deny(_: str) -> str:
            raise PermissionError(13, "Permission denied")

        sensors, (reason,) = power_pi5.find(trees.pi5(tmp_path), deny)
        assert sensors == []
        assert "Permission denied" in reason
        assert "usermod -aG video" in reason

    def test_a_firmware_that_knows_no_currents_is_a_reason(self, tmp_path: Path) -> None:
        for answer in ("error=1 error_msg=Command not registered", "", "EXT5V_V volt(24)=5.15V\n"):
            sensors, (reason,) = power_pi5.find(trees.pi5(tmp_path), lambda _, text=answer: text)
            assert sensors == []
            assert "rpi-eeprom-update" in reason

    def test_a_firmware_that_stops_answering_is_a_gap(self, tmp_path: Path) -> None:
        answers = iter([trees.pmic_answer()])

        def ask(_: str) -> str:
            try:
                return next(answers)
            except StopIteration:
                raise TimeoutError from None

        assert only(power_pi5.find(trees.pi5(tmp_path), ask)).read() == {}

    def test_other_boards_are_not_asked(self, tmp_path: Path) -> None:
        root = trees.tree(tmp_path, {"/proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0"})
        assert power_pi5.find(root, lambda _: pytest.fail("asked")) == ([], [])

    def test_the_message_to_the_firmware_has_the_form_of_vcgencmd(self) -> None:
        message = power_pi5.message("pmic_read_adc")
        words = [int.from_bytes(message[4 * n : 4 * n + 4], "little") for n in range(6)]
        assert words == [len(message), 0, 0x00030080, 1024, 0, 0]
        assert message[24:38] == b"pmic_read_adc\0"
        assert power_pi5.answer(message) == "pmic_read_adc"

    def test_a_node_that_is_no_firmware_is_an_error_of_the_system(self, tmp_path: Path) -> None:
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev/vcio").write_text("")
        with pytest.raises(OSError):
            power_pi5.firmware("pmic_read_adc", str(tmp_path))

    def test_the_program_is_asked_where_there_is_no_node(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "vcgencmd"
        program.write_text('#!/bin/sh\n[ "$1" = pmic_read_adc ] && echo "A_A=1A" || exit 3\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert power_pi5._by_program("pmic_read_adc") == "A_A=1A\n"
        with pytest.raises(OSError, match="exit code 3"):
            power_pi5._by_program("measure_volts")

    @given(st.text(max_size=300))
    def test_garbage_never_breaks_the_parser(self, text: str) -> None:
        assert all(isinstance(value, float) for value in power_pi5.parse_watts(text).values())


class TestRapl:
    def test_packages_and_memory_are_added_and_nothing_twice(self, tmp_path: Path) -> None:
        sensor = only(power_rapl.find(trees.rapl(tmp_path)))
        assert sensor.read() == {"dram-0": 30_000.0, "package-0": pytest.approx(240_422.366267)}
        assert sensor.facts["kind"] == "counter"
        assert sensor.facts["wrap_j"]["package-0"] == pytest.approx(262_143.328851)

    def test_a_counter_that_may_not_be_read_is_a_reason_with_the_remedy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = trees.rapl(tmp_path)
        deny(monkeypatch, power_rapl, "energy_uj")
        sensors, (reason,) = power_rapl.find(root)
        assert sensors == []
        assert reason.startswith("RAPL: ")
        assert "Permission denied" in reason
        assert "sudo chmod a+r" in reason

    def test_garbage_is_a_gap(self, tmp_path: Path) -> None:
        sensor = only(power_rapl.find(trees.rapl(tmp_path)))
        (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("")
        assert sensor.read() == {"dram-0": 30_000.0}
        assert power_rapl.find(str(tmp_path)) == ([], ["RAPL: its counters hold no numbers"])

    def test_a_machine_without_it(self, tmp_path: Path) -> None:
        assert power_rapl.find(str(tmp_path)) == ([], [])


class TestHwmon:
    def test_a_shunt_monitor_is_read_by_volts_and_amperes(self, tmp_path: Path) -> None:
        sensor = only(power_hwmon.find(trees.ina226(tmp_path)))
        assert sensor.read() == {"power1": pytest.approx(5.08 * 0.812)}
        assert (sensor.name, sensor.facts["class"]) == ("ina226", "C")

    def test_a_shunt_monitor_may_count_backwards(self, tmp_path: Path) -> None:
        assert total(only(power_hwmon.find(trees.ina226(tmp_path, milliamperes=-12)))) < 0

    def test_a_chip_that_tells_power_alone(self, tmp_path: Path) -> None:
        root = trees.tree(
            tmp_path,
            {
                "/sys/class/hwmon/hwmon4/name": "amdgpu\n",
                "/sys/class/hwmon/hwmon4/power1_average": "33000000\n",
                "/sys/class/hwmon/hwmon4/power1_label": "PPT\n",
                "/sys/class/hwmon/hwmon4/power1_cap": "200000000\n",
            },
        )
        assert only(power_hwmon.find(root)).read() == {"PPT": 33.0}

    def test_the_meter_of_the_whole_machine_is_of_class_b(self, tmp_path: Path) -> None:
        chip = "/sys/class/hwmon/hwmon0"
        root = trees.tree(tmp_path, {f"{chip}/name": "power_meter\n", f"{chip}/power1_average": "99000000\n"})
        assert only(power_hwmon.find(root)).facts["class"] == "B"

    def test_of_energies_only_those_of_sockets_are_added(self, tmp_path: Path) -> None:
        chip = "/sys/class/hwmon/hwmon0"
        labels = {1: "Ecore000", 2: "Ecore001", 3: "Esocket0"}
        files = {f"{chip}/name": "amd_energy\n"}
        for number, label in labels.items():
            files |= {f"{chip}/energy{number}_label": label, f"{chip}/energy{number}_input": f"{number}000000\n"}
        sensor = only(power_hwmon.find(trees.tree(tmp_path, files)))
        assert (sensor.facts["kind"], sensor.facts["total"], total(sensor)) == ("counter", ["Esocket0"], 3.0)

    def test_two_chips_of_one_kind_have_two_names(self, tmp_path: Path) -> None:
        trees.ina226(tmp_path)
        root = trees.tree(
            tmp_path, {"/sys/class/hwmon/hwmon7/name": "ina226", "/sys/class/hwmon/hwmon7/power1_input": "5"}
        )
        assert [sensor.name for sensor in power_hwmon.find(root)[0]] == ["ina226", "ina226 2"]

    def test_a_file_that_may_not_be_read_is_a_reason(self, tmp_path: Path) -> None:
        root = trees.tree(
            tmp_path, {"/sys/class/hwmon/hwmon7/name": "acme", "/sys/class/hwmon/hwmon7/power1_input": "off"}
        )
        assert power_hwmon.find(root) == ([], ["acme: holds no number"])

    def test_a_battery_is_not_counted_once_more(self, tmp_path: Path) -> None:
        trees.battery(tmp_path)
        root = trees.tree(
            tmp_path, {"/sys/class/hwmon/hwmon0/name": "battery", "/sys/class/hwmon/hwmon0/power1_input": "5"}
        )
        assert power_hwmon.find(root) == ([], [])


class TestBattery:
    @pytest.mark.parametrize(
        ("files", "watts"),
        [
            ({}, 1.5862),
            ({"current_now": "412000"}, 1.5862),  # drivers that count what leaves as positive
            ({"current_now": "-412"}, 1.5862),  # in mA
            ({"current_now": "-412", "voltage_now": "3850"}, 1.5862),  # and mV
            ({"current_now": "-15000"}, 0.05775),  # a phone that sleeps, in uA
            ({"power_now": "5002000"}, 5.002),
        ],
    )
    def test_every_convention_of_units_and_signs(self, tmp_path: Path, files: dict[str, str], watts: float) -> None:
        sensor = only(power_battery.find(trees.battery(tmp_path, **files)))
        assert total(sensor) == pytest.approx(watts)
        assert sensor.facts["class"] == "D"

    @pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
    def test_it_is_refused_unless_it_alone_feeds_the_board(self, tmp_path: Path, status: str) -> None:
        sensors, (reason,) = power_battery.find(trees.battery(tmp_path, status=status))
        assert sensors == []
        assert status in reason
        assert "unplug" in reason

    def test_a_cable_in_the_middle_is_a_gap(self, tmp_path: Path) -> None:
        sensor = only(power_battery.find(trees.battery(tmp_path)))
        trees.battery(tmp_path, status="Charging")
        assert sensor.read() == {}

    def test_a_current_that_cannot_be_is_no_sensor(self, tmp_path: Path) -> None:
        assert power_battery.find(trees.battery(tmp_path, current_now="-2"))[0] == []
        (tmp_path / "sys/class/power_supply/battery/current_now").unlink()
        assert "No such file" in power_battery.find(str(tmp_path))[1][0]

    def test_batteries_of_mice_and_chargers_are_not_the_boards(self, tmp_path: Path) -> None:
        trees.battery(tmp_path, scope="Device")
        root = trees.tree(tmp_path, {"/sys/class/power_supply/AC/type": "Mains\n"})
        assert power_battery.find(root) == ([], [])


class TestOdpm:
    def test_rails_of_all_chips_are_added(self, tmp_path: Path) -> None:
        sensor = only(power_odpm.find(trees.odpm(tmp_path)))
        assert total(sensor) == pytest.approx(6.0)
        assert (sensor.facts["class"], sensor.facts["kind"], sensor.facts["period_s"]) == ("B", "counter", 0.1)

    def test_a_slow_chip_is_not_asked_more_often_than_it_answers_anew(self, tmp_path: Path) -> None:
        assert only(power_odpm.find(trees.odpm(tmp_path, rate="7.8125"))).facts["period_s"] == 2.56
        assert only(power_odpm.find(trees.odpm(tmp_path, rate="?"))).facts["period_s"] == 2.56

    def test_a_file_of_another_form_is_a_reason(self, tmp_path: Path) -> None:
        root = trees.odpm(tmp_path)
        for path in tmp_path.rglob("energy_value"):
            path.write_text("CH0=5\n")
        assert power_odpm.find(root) == ([], ["ODPM: its file is not as expected"])

    def test_without_root_that_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = trees.odpm(tmp_path)
        deny(monkeypatch, power_odpm, "energy_value")
        sensors, (reason,) = power_odpm.find(root)
        assert sensors == []
        assert "needs root" in reason

    @given(st.text(max_size=200))
    def test_garbage_never_breaks_the_parser(self, text: str) -> None:
        assert all(value >= 0 for value in power_odpm.parse_joules(text).values())


class TestAll:
    def test_the_sensor_that_covers_most_comes_first(self, tmp_path: Path) -> None:
        trees.rapl(tmp_path)
        trees.battery(tmp_path)
        sensors, reason = power.find_all(trees.orin_nano(tmp_path))
        assert [sensor.name for sensor in sensors] == ["ina3221", "rapl", "battery"]
        assert reason is None
        chosen = power.choose("rapl", str(tmp_path))
        assert chosen is not None
        assert chosen.name == "rapl"

    def test_where_there_is_none_it_is_said_what_to_attach(self, tmp_path: Path) -> None:
        facts, reason = power.facts(str(tmp_path))
        assert facts is None
        assert "INA226" in (reason or "")
        assert "Shelly" in (reason or "")
        assert power.choose("rapl", str(tmp_path)) is None

    def test_the_facts_can_go_over_the_wire(self, tmp_path: Path) -> None:
        for make in (trees.orin_nano, trees.rapl, trees.odpm, trees.battery):
            (facts,) = power.facts(make(tmp_path / make.__name__))[0] or ()
            assert json.loads(json.dumps(facts)) == facts
            assert set(facts["total"]) <= set(facts["rails"])
            assert facts["class"] in "ABCD"

    def test_the_agent_says_what_it_finds(self, start: Callable[..., Client], tmp_path: Path) -> None:
        facts = start("--sysfs-root", trees.orin_nano(tmp_path / "sys-root")).call("probe")["sensors"]
        assert [sensor["name"] for sensor in facts["power"]] == ["ina3221"]
        assert "power_reason" not in facts


def deny(monkeypatch: pytest.MonkeyPatch, probe: object, ending: str) -> None:
    """As for a user who may not read it; the tests may run as root, who may."""
    from edgeopt_agent import probes

    def denied(root: str, path: str) -> tuple[str | None, str | None]:
        return (None, f"{path}: Permission denied") if path.endswith(ending) else probes.read(root, path)

    monkeypatch.setattr(probe, "read", denied)


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tree that node_exporter's tests recorded."""
    source = CAPTURES / "node_exporter" / "sys.json"
    if not source.exists():
        pytest.skip("no recorded trees here")
    root = tmp_path_factory.mktemp("captured")
    for name, content in json.loads(source.read_text()).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        elif "symlink" in content:
            path.symlink_to(content["symlink"])
        else:
            path.mkdir(exist_ok=True)
    return str(root)


@pytest.mark.parametrize(
    ("board", "total_w", "grade"),
    # Nano: its input rail alone. Xavier: 1155 + 385 + 2504 + 0 + 192 + 2692 mW.
    [("Nano user", 0.933, "B"), ("Xavier user", 6.928, "C")],
)
def test_recorded_rails_of_jetsons_add_up_as_by_hand(tmp_path: Path, board: str, total_w: float, grade: str) -> None:
    """The rails that tegrastats printed there, put into files as the driver of JetPack 4 shows them."""
    source = CAPTURES / "jetson" / "tegrastats.txt"
    if not source.exists():
        pytest.skip("no recorded rails here")
    line = source.read_text().split(f"# {board}\n", 1)[1].split("\n", 1)[0]
    rails = re.findall(r" ([A-Z][A-Z0-9_]+) (\d+)/\d+(?= |$)", " " + re.split(r"@[\d.]+C ", line)[-1])
    files = {}
    for number, (name, milliwatts) in enumerate(rails):
        chip, channel = divmod(number, 3)
        folder = f"/sys/bus/iio/devices/iio:device{chip}"
        files[f"{folder}/name"] = "ina3221x\n"
        files[f"{folder}/rail_name_{channel}"] = f"{name}\n"
        files[f"{folder}/in_power{channel}_input"] = f"{milliwatts}\n"
    sensor = only(power_ina3221.find(trees.tree(tmp_path, files)))
    assert (total(sensor), sensor.facts["class"]) == (pytest.approx(total_w), grade)


def test_a_recorded_laptop(captured: str) -> None:
    sensors, reason = power.find_all(captured)
    assert reason is None
    assert [(sensor.name, sensor.facts["class"]) for sensor in sensors] == [("rapl", "C"), ("BAT0", "D")]
    assert sensors[0].read() == {"package-0": pytest.approx(240_422.366267)}
    assert sensors[1].read() == {"BAT0": pytest.approx(5.002)}
