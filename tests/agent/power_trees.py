"""Trees of /sys for power sensors, written from the drivers' documentation (named at each) and not recorded on boards."""

from __future__ import annotations

from pathlib import Path

CORE_RAILS = {"3V7_WL_SW": (3.72, 0.0859), "DDR_VDD2": (1.1, 0.03), "VDD_CORE": (0.8, 1.5), "0V8_SW": (0.8, 0.25)}
"""Volts and amperes."""


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def orin_nano(root: Path, *, milliamperes: tuple[int, int, int] = (1000, 400, 300)) -> str:
    """Documentation/hwmon/ina3221.rst with the labels of the Jetson Orin Nano's device tree."""
    chip = "/sys/class/hwmon/hwmon1"
    files = {f"{chip}/name": "ina3221\n", f"{chip}/in7_label": "sum of shunt voltages\n", f"{chip}/in7_input": "12\n"}
    for number, (label, current) in enumerate(
        zip(("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), milliamperes, strict=True), 1
    ):
        files |= {
            f"{chip}/in{number}_label": f"{label}\n",
            f"{chip}/in{number}_input": "5000\n",
            f"{chip}/in{number}_enable": "1\n",
            f"{chip}/curr{number}_input": f"{current}\n",
        }
    return tree(root, files | {"/sys/class/hwmon/hwmon0/name": "cpu_thermal\n"})


def agx_orin(root: Path) -> str:
    """Two chips, one channel not connected, one off; the labels of the Jetson AGX Orin's device tree."""
    labels = (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), ("NC", "VDDQ_VDD2_1V8AO", "NC"))
    files = {}
    for chip, rails in enumerate(labels):
        folder = f"/sys/class/hwmon/hwmon{chip + 3}"
        files[f"{folder}/name"] = "ina3221\n"
        for number, label in enumerate(rails, 1):
            files |= {
                f"{folder}/in{number}_label": f"{label}\n",
                f"{folder}/in{number}_input": "19000\n" if chip == 0 else "5000\n",
                f"{folder}/curr{number}_input": "100\n",
            }
    return tree(root, files)


def nano(root: Path) -> str:
    """JetPack 4's driver ina3221x for iio, as jetson_stats and the Jetson Linux Developer Guide describe it; numbers of a Nano at rest."""
    chip = "/sys/bus/iio/devices/iio:device0"
    files = {f"{chip}/name": "ina3221x\n"}
    for number, (label, power) in enumerate((("POM_5V_IN", 933), ("POM_5V_GPU", 0), ("POM_5V_CPU", 84))):
        files |= {
            f"{chip}/rail_name_{number}": f"{label}\n",
            f"{chip}/in_voltage{number}_input": "5000\n",
            f"{chip}/in_current{number}_input": f"{power // 5}\n",
            f"{chip}/in_power{number}_input": f"{power}\n",
        }
    return tree(root, files)


def pi5(root: Path) -> str:
    """Only the device tree's names; currents come from the firmware."""
    return tree(root, {"/proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0"})


def pmic_answer(*, short: bool = False) -> str:
    """What the firmware answers to pmic_read_adc, in either of its forms."""
    lines = []
    for number, (rail, (volts, amperes)) in enumerate(CORE_RAILS.items()):
        lines.append(f"{rail}_A={amperes:.4f}A" if short else f"   {rail}_A current({number})={amperes:.8f}A")
        lines.append(f"{rail}_V={volts:.4f}V" if short else f"   {rail}_V volt({number + 8})={volts:.8f}V")
    lines.append("EXT5V_V=5.15V" if short else "   EXT5V_V volt(24)=5.15310000V")
    return "\n".join(lines) + "\n"


def rapl(root: Path, *, microjoules: int = 240_422_366_267) -> str:
    """Documentation/power/powercap: one package with core and dram, and the platform around it."""
    zones = {
        "intel-rapl:0": ("package-0", microjoules),
        "intel-rapl:0:0": ("core", 118_821_284_256),
        "intel-rapl:0:1": ("uncore", 5_000_000),
        "intel-rapl:0:2": ("dram", 30_000_000_000),
        "intel-rapl:1": ("psys", 400_000_000_000),
        "intel-rapl-mmio:0": ("package-0", microjoules),
    }
    files = {}
    for zone, (name, value) in zones.items():
        files |= {
            f"/sys/class/powercap/{zone}/name": f"{name}\n",
            f"/sys/class/powercap/{zone}/energy_uj": f"{value}\n",
            f"/sys/class/powercap/{zone}/max_energy_range_uj": "262143328850\n",
        }
    return tree(root, files)


def ina226(root: Path, *, name: str = "ina226", milliamperes: int = 812) -> str:
    """Documentation/hwmon/ina2xx.rst: shunt voltage in0, bus voltage in1, current, and power in coarser steps."""
    chip = "/sys/class/hwmon/hwmon2"
    return tree(
        root,
        {
            f"{chip}/name": f"{name}\n",
            f"{chip}/in0_input": "8\n",
            f"{chip}/in1_input": "5080\n",
            f"{chip}/curr1_input": f"{milliamperes}\n",
            f"{chip}/power1_input": "4125000\n",
        },
    )


def battery(root: Path, **files: str) -> str:
    """Documentation/ABI/testing/sysfs-class-power: a phone's gauge."""
    usual = {"type": "Battery", "status": "Discharging", "voltage_now": "3850000", "current_now": "-412000"} | files
    return tree(root, {f"/sys/class/power_supply/battery/{name}": f"{text}\n" for name, text in usual.items()})


def odpm(root: Path, *, rate: str = "1000") -> str:
    """drivers/iio/power/odpm.c of the Pixel kernel: the two chips of a Pixel 6, with two of their channels."""
    rails = {0: ("S2M_VDD_CPUCL2", "S3M_VDD_CPUCL1"), 1: ("VSYS_PWR_DISPLAY", "S2S_VDD_G3D")}
    files = {}
    for chip, names in rails.items():
        folder = f"/sys/bus/iio/devices/iio:device{chip}"
        lines = [f"CH{n}(T=60012)[{name}], {1_000_000 * (n + 1)}" for n, name in enumerate(names)]
        files[f"{folder}/name"] = f"s2mpg1{chip}-odpm\n"
        files[f"{folder}/energy_value"] = "t=60012\n" + "\n".join(lines) + "\n"
        files[f"{folder}/sampling_rate"] = f"{rate}\n"
    return tree(root, files)
