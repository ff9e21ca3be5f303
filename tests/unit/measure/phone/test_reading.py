"""What a phone says of itself, read by the agent's parsers and a few of our own; recorded phones are read where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.measure.phone.reading import android, battery, facts, observed, properties, thermal_service
from edgeopt.measure.phone.shell import Part, split
from tests.fakes.phone_programs import BATTERY, GETPROP, THERMAL

MARK = "0123456789abcdef" * 2


def test_getprop_is_read() -> None:
    found = properties(GETPROP)
    assert found["ro.product.model"] == "Fake Phone"
    about = android(found)
    assert (about["model"], about["release"], about["abi"]) == ("Fake Phone", "14", "arm64-v8a")
    assert about["soc"] is None
    assert about["soc_reason"] == "getprop has no ro.soc.model"


def test_a_battery_is_read() -> None:
    assert battery(BATTERY) == {"level_percent": 87, "temperature_c": 27.1, "charging": "charging"}


def test_a_vendors_log_behind_the_state_does_not_count() -> None:
    log = "[EventLogBuffer]\n06-08 12:01:02.345  Sending ACTION_BATTERY_CHANGED: level:59\n  level: 3\n"
    assert battery(BATTERY + log)["level_percent"] == 87


def test_a_battery_that_says_nothing_is_unknown_with_reasons() -> None:
    found = battery("Can't find service: battery")
    assert found["level_percent"] is None
    assert "level" in found["level_percent_reason"]


def test_the_recorded_battery_of_a_phone_is_read(shared_testdata: Path) -> None:
    text = (shared_testdata / "captures/android/dumpsys_battery_miui.txt").read_text()
    assert battery(text) == {"level_percent": 60, "temperature_c": 30.0, "charging": "charging"}


def test_temperatures_are_those_of_now_and_only_temperatures() -> None:
    found, status = thermal_service(THERMAL.format(status=2))
    assert found == {"VIRTUAL-SKIN": 31.25, "BIG": 42.5}
    assert status == 2


def test_what_the_service_remembers_is_better_than_nothing() -> None:
    text = THERMAL.format(status=0).partition("Current temperatures from HAL:")[0]
    assert thermal_service(text) == ({"BIG": 99.0}, 0)


def test_a_phone_without_the_service_has_no_status() -> None:
    assert thermal_service("Can't find service: thermalservice") == ({}, None)


@settings(deadline=None)
@given(st.text(max_size=400), st.text(max_size=400))
def test_whatever_dumpsys_says_is_read_or_unknown(first: str, second: str) -> None:
    battery(first)
    properties(first)
    thermal_service(f"Current temperatures from HAL:\n{first}\nThermal Status: {second}")


@settings(deadline=None)
@given(
    value=st.floats(allow_nan=True).map(str) | st.text(max_size=8),
    kind=st.integers(-9, 99),
    name=st.text(max_size=12),
)
def test_a_sensor_of_any_kind_is_a_plausible_temperature_or_none(value: str, kind: int, name: str) -> None:
    text = f"Current temperatures from HAL:\n\tTemperature{{mValue={value}, mType={kind}, mName={name}, mStatus=0}}\n"
    found, _ = thermal_service(text)
    assert all(-50 <= degrees <= 150 for degrees in found.values())


def parts_of(files: dict[str, str], said: dict[str, str]) -> list[Part]:
    texts = dict(files) | {f"={name}": text for name, text in said.items()}
    return [Part((head,), text) for head, text in texts.items()]


SAID = {
    "uname": "Linux 5.15.110-android14 aarch64",
    "date": "1795677816.5",
    "getprop": GETPROP,
    "df": "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block/dm-44 110000000 50000000 60000000 46% /data",
    "folder": "/data/local/tmp writable",
    "nproc": "8",
    "battery": BATTERY,
    "thermal": THERMAL.format(status=0),
}


def test_conditions_are_of_the_phones_own_clock() -> None:
    found = observed(
        parts_of({"/proc/uptime": "1234.56 99.0\n", "/proc/stat": "cpu  10 0 5 100 0 0 0 0 0 0\nctxt 7\n"}, SAID)
    )
    assert found["monotonic_ns"] == 1_234_560_000_000
    assert found["unix_s"] == 1795677816.5
    assert (found["cpu_busy_ticks"], found["cpu_total_ticks"]) == (15, 115)
    assert found["thermal_status"] == 0
    assert found["mem_available_bytes"] is None
    assert found["mem_available_bytes_reason"]


def test_facts_of_a_folder_say_what_is_free_and_whether_programs_run_there() -> None:
    mounts = "/dev/root / ext4 ro 0 0\n/dev/block/dm-44 /data f2fs rw,nosuid,nodev,noatime 0 0\ntmpfs /data/local/tmp tmpfs rw,noexec 0 0\n"
    disk = facts(parts_of({"/proc/mounts": mounts}, SAID), "/data/local/tmp/edgeopt")["disk"]
    assert disk == {
        "path": "/data/local/tmp",
        "writable": True,
        "noexec": True,
        "free_bytes": 60_000_000 * 1024,
        "total_bytes": 110_000_000 * 1024,
    }


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Part,
            st.tuples(
                st.sampled_from(
                    [
                        "/proc/stat",
                        "/proc/cpuinfo",
                        "/proc/mounts",
                        "/../etc/x",
                        "/proc/../x",
                        "=df",
                        "=uname",
                        "=folder",
                        "=getprop",
                        "=lacks",
                        "=nproc",
                    ]
                )
            ),
            st.text(max_size=80),
        ),
        max_size=12,
    )
)
def test_whatever_parts_come_there_are_facts(parts: list[Part]) -> None:
    found = facts(parts, "/data/local/tmp/edgeopt")
    assert found["cpu"]["cores"] >= 1
    json.dumps(found)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_an_answer_is_split_at_its_marks_alone(text: str) -> None:
    whole = f"noise\n{MARK} first word\n{text}\n{MARK} end\n"
    found = split(whole, MARK)
    assert found[0] == Part(("first", "word"), text)
    assert found[-1].words == ("end",)


def test_recorded_phones_have_their_cores_and_clusters(shared_testdata: Path) -> None:
    phones = sorted((shared_testdata / "captures/phone_sysfs").glob("*.json"))[::5]
    if not phones:
        pytest.skip("no recorded phones")
    for path in phones:
        record: dict[str, Any] = json.loads(path.read_text())
        files = {name: text for section in record["files"].values() for name, text in section.items()}
        props = {name: value for section in record["android_properties"].values() for name, value in section.items()}
        said = {"uname": "Linux 4 aarch64", "getprop": "".join(f"[{n}]: [{v}]\n" for n, v in props.items())}
        found = facts(parts_of(files, said), "/data/local/tmp/edgeopt")
        assert found["cpu"]["parts"] or found["cpu"]["model"], path.name
        assert sum(len(cluster["cores"]) for cluster in found["cpu"]["clusters"]) == found["cpu"]["cores"], path.name
        assert found["android"]["model"], path.name
        assert not any("serial" in name for name in found["board"]["properties"]), path.name
