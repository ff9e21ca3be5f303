"""What is made of the counters around the timed part: pure rules, and the parsers of what they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent import watch
from edgeopt_agent.probes import cpu, quota

MS = 1_000_000
QUIET: dict[str, Any] = {
    "wall_ns": 1000 * MS,
    "cpu_ns": 1000 * MS,
    "suspended_ns": 0,
    "major_faults": 0,
    "minor_faults": 10,
    "involuntary_switches": 0,
    "quota_periods": 0,
    "clock_share": 1.0,
}


def doubts(latencies_ms: list[float] | None = None, **changes: Any) -> list[str]:
    latencies = latencies_ms or [10.0] * 100
    return watch.doubts({**QUIET, **changes}, [int(value * MS) for value in latencies])


class TestDoubts:
    def test_a_quiet_part_casts_none(self) -> None:
        assert doubts() == []
        assert doubts(quota_periods=None, clock_share=None) == []

    @pytest.mark.parametrize(
        ("latencies_ms", "expected"),
        [
            ([10.0] * 99 + [300.0], ["stopped"]),
            ([10.0] * 99 + [190.0], []),  # long, but not so many times the median
            ([1.0] * 99 + [90.0], []),  # many times the median, but short
            ([600.0, 610.0, 620.0], []),
        ],
    )
    def test_one_inference_that_did_not_compute_is_a_stop(self, latencies_ms: list[float], expected: list[str]) -> None:
        assert doubts(latencies_ms) == expected

    def test_a_long_input_is_not_a_stop(self) -> None:
        turn = [10 * MS] * 9 + [300 * MS]
        assert not watch.has_stall(turn * 5, 10)
        assert watch.has_stall(turn * 5, 1)
        assert watch.has_stall([*turn * 5, 300 * MS], 10)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"suspended_ns": 20 * MS}, ["stopped"]),
            ({"suspended_ns": 1000}, []),
            ({"quota_periods": 1}, ["throttled-by-quota"]),
            ({"clock_share": 0.94}, ["frequency-moved"]),
            ({"clock_share": 0.95}, []),
            ({"involuntary_switches": 10}, []),
            ({"involuntary_switches": 11}, ["preempted"]),
            ({"major_faults": 1}, ["major-faults"]),
        ],
    )
    def test_limits(self, change: dict[str, Any], expected: list[str]) -> None:
        assert doubts(**change) == expected

    def test_one_switch_in_a_short_series_is_nothing(self) -> None:
        assert doubts([600.0] * 5, involuntary_switches=1) == []


class TestClock:
    def test_the_share_is_of_the_state_that_was_used_most(self) -> None:
        before = {"policy0": {600: 1000, 1500: 50}}
        assert watch.clock_share(before, {"policy0": {600: 1010, 1500: 140}}) == pytest.approx(0.9)

    def test_idle_cores_may_slow_down(self) -> None:
        before = {"policy0": {600: 0, 1500: 0}, "policy4": {600: 0, 2400: 0}}
        after = {"policy0": {600: 60, 1500: 40}, "policy4": {600: 0, 2400: 100}}
        assert watch.clock_share(before, after) == 1.0

    def test_too_short_a_time_is_not_judged(self) -> None:
        assert watch.clock_share({"policy0": {600: 0}}, {"policy0": {600: 19}}) is None

    @pytest.mark.parametrize("missing", [None, {}])
    def test_where_nobody_counts_nothing_is_said(self, missing: Any) -> None:
        assert watch.clock_share(missing, {"policy0": {600: 100}}) is None
        assert watch.clock_share({"policy0": {600: 100}}, missing) is None

    def tree(self, root: Path, policies: dict[str, str]) -> None:
        for name, related in policies.items():
            folder = root / "sys/devices/system/cpu/cpufreq" / name
            (folder / "stats").mkdir(parents=True)
            (folder / "related_cpus").write_text(related + "\n")
            (folder / "stats/time_in_state").write_text("600000 10\n1500000 20\n")

    def test_a_raspberry_pi_has_one_group(self, tmp_path: Path) -> None:
        self.tree(tmp_path, {"policy0": "0 1 2 3"})
        assert cpu.time_in_state(str(tmp_path)) == {"policy0": {600000: 10, 1500000: 20}}

    def test_a_phone_has_clusters_and_one_of_them_may_be_a_single_core(self, tmp_path: Path) -> None:
        self.tree(tmp_path, {"policy0": "0 1 2 3", "policy7": "7"})
        assert set(cpu.time_in_state(str(tmp_path)) or {}) == {"policy0", "policy7"}

    def test_a_clock_for_each_core_cannot_be_judged(self, tmp_path: Path) -> None:
        self.tree(tmp_path, {"policy0": "0", "policy1": "1"})
        assert cpu.time_in_state(str(tmp_path)) is None

    @given(st.text())
    def test_any_text_is_read_without_an_error(self, text: str) -> None:
        cpu.parse_time_in_state(text)
        cpu.parse_pressure(text)

    def test_pressure(self) -> None:
        text = "some avg10=71.06 avg60=71.31 avg300=78.77 total=952919223\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
        assert cpu.parse_pressure(text) == 952919223
        assert cpu.parse_pressure("") is None


class TestQuota:
    def test_version_2_counts_in_the_group_and_all_above(self) -> None:
        assert quota.parse_groups("0::/system.slice/docker-1.scope\n")[:3] == [
            "/sys/fs/cgroup/system.slice/docker-1.scope",
            "/sys/fs/cgroup/system.slice",
            "/sys/fs/cgroup",
        ]

    def test_version_1_has_its_own_tree(self) -> None:
        found = quota.parse_groups("5:memory:/a\n3:cpu,cpuacct:/a\n")
        assert found == [
            "/sys/fs/cgroup/cpu,cpuacct/a",
            "/sys/fs/cgroup/cpu,cpuacct",
            "/sys/fs/cgroup/cpu/a",
            "/sys/fs/cgroup/cpu",
        ]

    def test_the_periods_of_all_groups_are_added(self, tmp_path: Path) -> None:
        for path, count in (("sys/fs/cgroup/a/b", 2), ("sys/fs/cgroup/a", 3)):
            (tmp_path / path).mkdir(parents=True, exist_ok=True)
            (tmp_path / path / "cpu.stat").write_text(f"usage_usec 1\nnr_periods 9\nnr_throttled {count}\n")
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
        assert quota.times_throttled(str(tmp_path)) == 5

    def test_without_control_groups_nothing_is_known(self, tmp_path: Path) -> None:
        assert quota.times_throttled(str(tmp_path)) is None

    @given(st.text())
    def test_any_text_is_read_without_an_error(self, text: str) -> None:
        quota.parse_groups(text)
        quota.parse_throttled(text)

    @given(st.text(alphabet="/.ab", max_size=30))
    def test_no_group_leaves_the_mount(self, path: str) -> None:
        for folder in quota.parse_groups(f"0::{path}"):
            assert folder.startswith("/sys/fs/cgroup")
            assert ".." not in folder.split("/")


def test_the_counters_of_this_process_grow_and_what_is_not_known_has_a_reason() -> None:
    before = watch.counters()
    found = watch.between(before, watch.counters())
    assert found["wall_ns"] > 0
    assert all(value is not None or found[f"{name}_reason"] for name, value in found.items())


def test_a_bare_tree_knows_neither_quota_nor_clocks(tmp_path: Path) -> None:
    bare = watch.counters(str(tmp_path))
    found = watch.between(bare, bare)
    assert (found["quota_periods"], found["clock_share"]) == (None, None)
