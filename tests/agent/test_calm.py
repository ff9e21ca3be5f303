"""The canary and the wait for the reference state: rules that are told time, warmth and speed; and a block that has both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent import canary
from edgeopt_agent.calm import CoolDown, Reference, of_cores
from tests.agent.client import Client, Refused
from tests.agent.test_block import fake_job

MS = 1_000_000


class Work:
    """Work whose repetition number n takes `times[n]`, the last one from then on."""

    def __init__(self, times: list[int]) -> None:
        self.times = times
        self.count = 0
        self.now = 0

    def do(self) -> None:
        self.now += self.times[min(self.count, len(self.times) - 1)]
        self.count += 1

    def clock(self) -> int:
        return self.now


class TestShortest:
    def test_a_steady_board_needs_eight_repetitions(self) -> None:
        work = Work([5 * MS])
        assert canary.shortest(work.do, work.clock) == 5 * MS
        assert work.count == 8

    def test_an_interruption_does_not_count(self) -> None:
        work = Work([5 * MS, 50 * MS, 5 * MS])
        assert canary.shortest(work.do, work.clock) == 5 * MS

    def test_a_clock_that_rises_is_waited_for(self) -> None:
        work = Work([12 * MS - number * MS // 2 for number in range(12)])
        assert canary.shortest(work.do, work.clock) == 12 * MS - 11 * MS // 2

    def test_it_ends_on_a_board_that_gets_ever_faster(self) -> None:
        work = Work([int(100 * MS * 0.95**number) for number in range(200)])
        canary.shortest(work.do, work.clock)
        assert work.count <= 40
        assert work.now < 500 * MS


class TestCanary:
    def test_the_median_of_five_is_the_reference(self) -> None:
        times = iter([9, 1, 5, 4, 6])
        assert canary.reference_ns(lambda: next(times)) == 5

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            (100, 100, False),
            (110, 121, False),
            (111, 111, True),
            (100, 111, True),
            (80, 100, True),
            (100, 50, False),
        ],
    )
    def test_slower_than_before_or_than_at_first(self, before: int, after: int, expected: bool) -> None:
        assert canary.is_slowed(before, after, 100) is expected

    def test_it_takes_cpu_time_and_leaves_the_affinity_as_it_was(self) -> None:
        cores = os.sched_getaffinity(0)
        assert canary.run_ns() > 0
        assert os.sched_getaffinity(0) == cores

    @pytest.mark.parametrize("name", ["cpu_capacity", "cpufreq/cpuinfo_max_freq"])
    def test_the_fastest_core_that_may_be_used_runs_it(self, tmp_path: Path, name: str) -> None:
        for core, speed in enumerate((400, 400, 1024, 900)):
            path = tmp_path / f"sys/devices/system/cpu/cpu{core}" / name
            path.parent.mkdir(parents=True)
            path.write_text(str(speed))
        assert canary.fastest_core({0, 1, 2, 3}, str(tmp_path)) == 2
        assert canary.fastest_core({0, 1, 3}, str(tmp_path)) == 3
        assert canary.fastest_core({0, 1}, str(tmp_path)) == 1


class TestReference:
    def test_the_sensor_furthest_above_counts(self) -> None:
        reference = Reference({"cpu": 40.0, "gpu": 50.0}, 1)
        assert reference.excess_c({"cpu": 45.0, "gpu": 52.0}) == 5.0

    def test_it_gets_cooler_with_the_board(self) -> None:
        reference = Reference({"cpu": 40.0}, 1)
        assert reference.excess_c({"cpu": 38.0}) == -2.0
        assert reference.excess_c({"cpu": 42.0}) == 4.0

    def test_it_gets_faster_with_the_board_but_not_by_a_single_lucky_run(self) -> None:
        reference = Reference(None, 100)
        for found in (50, 100, 90, 92, 110):
            assert reference.canary_ns == 100
            reference.began_at(found)
        assert reference.canary_ns == 92
        for _ in range(9):
            reference.began_at(150)
        assert reference.canary_ns == 92

    def test_without_a_sensor_nothing_is_known(self) -> None:
        assert Reference(None, 1).excess_c({"cpu": 40.0}) is None
        assert Reference({"cpu": 40.0}, 1).excess_c(None) is None

    def test_disks_and_radios_are_not_the_board(self) -> None:
        assert of_cores({"nvme": 60.0, "cpu-thermal": 50.0, "iwlwifi": 40.0}) == {"cpu-thermal": 50.0}
        assert of_cores({"zone": 50.0}) == {"zone": 50.0}


class TestCoolDown:
    def rule(self, max_s: float = 30.0) -> CoolDown:
        return CoolDown(max_s=max_s, margin_c=3.0, canary_ratio=1.05)

    @pytest.mark.parametrize(("excess_c", "slowness"), [(0.0, 1.0), (3.0, 1.05), (None, 1.0)])
    def test_a_board_at_its_reference_does_not_wait(self, excess_c: float | None, slowness: float) -> None:
        assert self.rule().verdict(0.0, excess_c, slowness) is True

    @pytest.mark.parametrize(("excess_c", "slowness"), [(3.1, 1.0), (0.0, 1.06), (None, 1.06)])
    def test_a_warm_or_a_slow_board_waits(self, excess_c: float | None, slowness: float) -> None:
        assert self.rule().verdict(0.0, excess_c, slowness) is None

    def test_the_cap_ends_the_wait_while_it_still_cools(self) -> None:
        rule = self.rule()
        found = [rule.verdict(float(second), 40.0 - second, 1.0) for second in range(31)]
        assert found == [None] * 30 + [False]

    def test_it_gives_up_when_nothing_gets_better(self) -> None:
        rule = self.rule()
        found = [rule.verdict(float(second), 10.0, 1.0) for second in range(6)]
        assert found == [None] * 5 + [False]

    def test_a_cap_of_zero_waits_for_nothing(self) -> None:
        assert self.rule(0.0).verdict(0.0, 10.0, 1.0) is False

    @given(
        st.lists(st.tuples(st.floats(0, 50) | st.none(), st.floats(0.5, 3)), min_size=40, max_size=40),
        st.floats(0, 30),
    )
    def test_it_always_ends_by_the_cap(self, looks: list[tuple[float | None, float]], max_s: float) -> None:
        rule = self.rule(max_s)
        found = [rule.verdict(float(second), *look) for second, look in enumerate(looks)]
        assert any(verdict is not None for verdict in found[: int(max_s) + 2])


class TestBlock:
    def test_the_canary_is_in_both_conditions_and_one_reference_serves_the_session(self, locked: Client) -> None:
        first, second = (locked.call("block", **fake_job(locked, "os._exit(3)")) for _ in range(2))
        conditions = [block[side] for block in (first, second) for side in ("conditions_before", "conditions_after")]
        assert all(record["canary_ns"] > 0 for record in conditions)
        assert len({record["canary_reference_ns"] for record in conditions}) == 1

    def test_without_a_cool_down_nothing_is_waited_for(self, locked: Client) -> None:
        result = locked.call("block", **fake_job(locked, "os._exit(3)"))
        assert result["cool_down_s"] == 0
        assert "not-reset" not in result["flags"]

    @pytest.mark.parametrize(
        "bad", [{"max_s": -1}, {"max_s": "long"}, {"canary_ratio": 0.5}, {"margin_c": None, "max_s": True}, 3]
    )
    def test_a_cool_down_that_is_none_is_refused(self, locked: Client, bad: Any) -> None:
        with pytest.raises(Refused, match="bad-request"):
            locked.call("block", **fake_job(locked, "pass", cool_down=bad))
