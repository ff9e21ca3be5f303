"""Energy from raw windows, against sums done by hand."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.energy import BoardEstimate, Energy, PowerSensor
from edgeopt.domain.goal import Goal
from edgeopt.domain.run import Run
from edgeopt.select.energy import constant_power, energy_of, not_worth_more, ranked_mj, reckon
from edgeopt.select.pick import choose
from edgeopt.select.power_curve import NoCurve, curve_of
from edgeopt.select.summarise import summarise
from tests.unit.select.powered import COUNTER, SENSOR, ns, powered_run, step, window


def energy(run: Run, name: str = "original@all") -> Energy:
    found, reason = energy_of(run, next(candidate for candidate in run.candidates if candidate.id == name))
    assert found is not None, reason
    return found


def rounds(power_w: float, count: int = 3, *, candidate: str = "original@all", scatter: float = 0.0, **changes: object):
    """`count` windows at rest 2 W, with every other load a little higher and lower."""
    return [
        window(step(2.0, power_w + scatter * (n % 3 - 1)), candidate=candidate, round_=n, **changes)  # type: ignore[arg-type]
        for n in range(count)
    ]


class TestSums:
    def test_five_watts_for_ten_seconds_and_a_hundred_inferences_are_500_mj_each_300_beyond_rest(self) -> None:
        # 5 W * 10 s = 50 J, / 100 = 500 mJ; at rest 2 W * 10 s = 20 J; (50 - 20) J / 100 = 300 mJ
        found = reckon(SENSOR, window(step(2.0, 5.0)))
        assert found.gross_mj == pytest.approx(500, rel=0.001)
        assert found.net_mj == pytest.approx(300, rel=0.001)
        assert (found.idle_w, found.load_w) == (pytest.approx(2.0, rel=0.01), pytest.approx(5.0, rel=0.001))

    def test_a_ramp_between_samples_is_a_trapezoid(self) -> None:
        # 1 W + 0.1 W/s: over 7 s to 17 s (1.7 + 2.7) / 2 * 10 = 22 J; rest (1.35 + 3.05) / 2 = 2.2 W, so 22 J
        found = reckon(SENSOR, window(lambda at: 1 + 0.1 * at, inferences=10))
        assert found.gross_mj == pytest.approx(2200, rel=1e-9)
        assert found.net_mj == pytest.approx(0, abs=1e-6)
        # the rest drifted by 3.05 - 1.35 = 1.7 W: 1.7 W / 2 * 1 s for each inference
        assert found.drift_mj == pytest.approx(850, rel=1e-9)

    def test_the_ends_are_interpolated_where_no_sample_falls_on_them(self) -> None:
        # samples every 0.35 s do not fall on 7.123 s and 16.987 s: 2 W * 9.864 s = 19.728 J
        found = reckon(SENSOR, window(step(2.0, 2.0), period_s=0.35, load_ns=(ns(7.123), ns(16.987)), inferences=1))
        assert found.gross_mj == pytest.approx(19_728, rel=0.002)

    def test_a_counter_that_wraps_around_counts_on(self) -> None:
        # it stands at 90 J, wraps at 100 J and again: 48 J at rest, 55 J at work
        found = reckon(COUNTER, window(step(2.0, 5.0), sensor=COUNTER))
        assert found.gross_mj == pytest.approx(500, rel=0.005)
        assert found.net_mj == pytest.approx(300, rel=0.005)

    def test_several_rails_are_added(self) -> None:
        both = msgspec.structs.replace(SENSOR, total=("VDD_IN", "VDD_SOC"))
        assert reckon(both, window(step(2.0, 5.0))).gross_mj == pytest.approx(600, rel=0.001)

    def test_uneven_power_in_milliwatts_against_the_sum_by_hand(self) -> None:
        # Written by hand in the form of a Jetson Nano's POM_5V_IN, every 0.5 s; trapezoids over 2.0 s to 4.0 s:
        # (3120 + 3240) / 2 * 0.5 + (3240 + 3200) / 2 * 0.5 + (3200 + 3280) / 2 * 0.5 + (3280 + 3160) / 2 * 0.5 = 6430 mJ
        milliwatts = (933, 945, 927, 933, 3120, 3240, 3200, 3280, 3160, 940, 928, 933, 936)
        sensor = msgspec.structs.replace(SENSOR, rails=("POM_5V_IN",), total=("POM_5V_IN",), period_s=0.5)
        found = reckon(
            sensor,
            msgspec.structs.replace(
                window(step(0, 0)),
                samples=tuple((ns(k * 0.5), (mw / 1000,)) for k, mw in enumerate(milliwatts)),
                period_s=0.5,
                idle_before_ns=(ns(0), ns(1.5)),
                load_ns=(ns(2), ns(4)),
                idle_after_ns=(ns(4.5), ns(6)),
                inferences=20,
            ),
        )
        # at rest: ((933 + 945) / 2 + (945 + 927) / 2 + (927 + 933) / 2) / 3 = 935 mW before, ((940 + 928) / 2 + (928 + 933) / 2 + (933 + 936) / 2) / 3 = 933 mW after
        assert found.gross_mj == pytest.approx(6430 / 20, rel=0.01)
        assert found.net_mj == pytest.approx((6430 - 934 * 2) / 20, rel=0.01)

    @given(idle_w=st.floats(0.5, 10), extra_w=st.floats(0.2, 20), inferences=st.integers(1, 10_000))
    def test_constant_power_is_power_times_time(self, idle_w: float, extra_w: float, inferences: int) -> None:
        found = reckon(SENSOR, window(step(idle_w, idle_w + extra_w), inferences=inferences))
        assert found.net_mj == pytest.approx(extra_w * 10 / inferences * 1e3, rel=0.01)
        assert found.gross_mj == pytest.approx((idle_w + extra_w) * 10 / inferences * 1e3, rel=0.01)

    @given(
        cut=st.floats(0.0, 24.0),
        watts=st.lists(st.floats(0, 100), min_size=25, max_size=25).filter(lambda found: len(set(found)) > 3),
    )
    def test_a_span_is_the_sum_of_its_parts(self, cut: float, watts: list[float]) -> None:
        made = window(step(0, 0), samples=tuple((ns(k), (w, 0.0)) for k, w in enumerate(watts)))
        curve = curve_of(SENSOR, made)
        middle = ns(cut)
        parts = curve.between((0, middle)) + curve.between((middle, ns(24)))
        assert parts == pytest.approx(curve.between((0, ns(24))), rel=1e-9)
        assert math.isclose(curve.between((0, ns(24))), sum(watts) - (watts[0] + watts[-1]) / 2, rel_tol=1e-9)


class TestNoEnergy:
    def why(self, **changes: object) -> str:
        sensor = changes.pop("sensor", SENSOR)
        assert isinstance(sensor, PowerSensor)
        with pytest.raises(NoCurve) as caught:
            reckon(sensor, window(step(2.0, 5.0), sensor=sensor, **changes))  # type: ignore[arg-type]
        return str(caught.value)

    def test_a_gap_of_more_than_three_periods_within_the_load(self) -> None:
        assert "could not be read for 0.5 s" in self.why(gap=(10.05, 10.45))

    def test_a_short_gap_is_bridged(self) -> None:
        assert reckon(SENSOR, window(step(2.0, 5.0), gap=(10.05, 10.25))).gross_mj == pytest.approx(500, rel=0.001)

    def test_a_gap_between_the_spans_is_nothing(self) -> None:
        assert reckon(SENSOR, window(step(2.0, 5.0), gap=(6.2, 6.8))).gross_mj == pytest.approx(500, rel=0.001)

    def test_what_a_counter_counted_within_a_gap_is_not_lost(self) -> None:
        made = window(step(2.0, 5.0), sensor=COUNTER, gap=(10.05, 12.45))
        assert reckon(COUNTER, made).gross_mj == pytest.approx(500, rel=0.005)

    def test_but_a_gap_at_the_end_of_the_load_is_one_for_counters_too(self) -> None:
        assert "could not be read for 0.5 s" in self.why(sensor=COUNTER, gap=(16.75, 17.15))
        assert "could not be read for 0.5 s" in self.why(sensor=COUNTER, gap=(6.85, 7.25))

    def test_samples_that_begin_too_late_or_end_too_early(self) -> None:
        assert "not read over the whole window" in self.why(gap=(-1, 1.05))
        assert "not read over the whole window" in self.why(gap=(22.9, 99))

    def test_a_sensor_that_never_answers(self) -> None:
        assert "only 0 times of 241" in self.why(gap=(-1, 99))

    def test_a_value_that_never_changes_is_stale(self) -> None:
        with pytest.raises(NoCurve, match="renewed its value only 0 times"):
            reckon(SENSOR, window(lambda _: 3.0))

    def test_a_gauge_that_renews_its_value_too_rarely(self) -> None:
        gauge = msgspec.structs.replace(SENSOR, grade="D")
        with pytest.raises(NoCurve, match="renewed its value only 2 times"):
            reckon(gauge, window(step(2.0, 5.0, ripple_w=0.0)))
        assert reckon(SENSOR, window(step(2.0, 5.0, ripple_w=0.0))).net_mj == pytest.approx(300, rel=0.01)

    def test_a_counter_that_goes_back_and_is_not_known_to_wrap(self) -> None:
        with pytest.raises(NoCurve, match="went back"):
            reckon(msgspec.structs.replace(COUNTER, wrap_j={}), window(step(2.0, 5.0), sensor=COUNTER))

    def test_a_counter_that_was_set_back(self) -> None:
        large = msgspec.structs.replace(COUNTER, wrap_j={"VDD_IN": 262_143.0})
        with pytest.raises(NoCurve, match="set back"):
            reckon(large, window(step(2.0, 5.0), sensor=COUNTER))

    def test_a_load_that_failed_or_was_disturbed(self) -> None:
        assert self.why(failure="memory: MemoryError") == "memory: MemoryError"
        assert "disturbed: foreign-load" in self.why(flags=("foreign-load", "major-faults"))
        made = window(step(2.0, 5.0), flags=("foreign-load",))
        assert reckon(SENSOR, made, accept_disturbed=True).net_mj == pytest.approx(300, rel=0.001)

    def test_a_window_without_length(self) -> None:
        assert "no length" in self.why(idle_after_ns=(ns(18), ns(18)))

    def test_samples_out_of_order_or_twice_are_put_right(self) -> None:
        made = window(step(2.0, 5.0))
        shuffled = msgspec.structs.replace(made, samples=(*reversed(made.samples), made.samples[3]))
        assert reckon(SENSOR, shuffled) == reckon(SENSOR, made)


class TestLevel:
    def test_without_scatter_only_what_windows_share_is_uncertain(self) -> None:
        # net: gain 1 % of 300 mJ, twice; gross: hypot(1 % of 500 mJ, 0.04 W * 0.1 s = 4 mJ), twice
        sensor = msgspec.structs.replace(SENSOR, gain=0.01, offset_w=0.04)
        found = energy(powered_run(*rounds(5.0), sensor=sensor))
        assert found.net_mj.value == pytest.approx(300, rel=0.001)
        assert found.net_mj.high is not None
        assert found.gross_mj.high is not None
        assert found.net_mj.high - found.net_mj.value == pytest.approx(6, rel=0.01)
        assert found.gross_mj.high - found.gross_mj.value == pytest.approx(2 * math.hypot(5, 4), rel=0.01)

    def test_three_windows_have_students_interval(self) -> None:
        # net 290, 300, 310 mJ: s = 10, t = 4.303, 4.303 * 10 / sqrt(3) = 24.8 mJ
        found = energy(powered_run(*rounds(5.0, scatter=0.1)))
        assert found.net_mj.low is not None
        assert found.net_mj.value - found.net_mj.low == pytest.approx(24.84, rel=0.01)
        assert (found.windows, found.invalid) == (3, 0)

    def test_six_windows_have_the_exact_interval(self) -> None:
        found = energy(powered_run(*rounds(5.0, 6, scatter=0.1)))
        assert found.net_mj.low == pytest.approx(290, rel=0.01)
        assert found.net_mj.high == pytest.approx(310, rel=0.01)

    def test_one_window_has_no_interval_and_says_why(self) -> None:
        found = energy(powered_run(*rounds(5.0, 1)))
        assert (found.net_mj.low, found.net_mj.high) == (None, None)
        assert "one window" in found.reasons["net_mj"]

    def test_a_drift_of_the_rest_widens_the_net_energy_only(self) -> None:
        # rest 1.9 W before and 2.1 W after: 0.2 W / 2 * 0.1 s = 10 mJ, twice
        def drifting(at: float) -> float:
            return step(1.9, 5.0)(at) + (0.2 if at > 17.5 else 0.0)

        found = energy(powered_run(*(window(drifting, round_=n) for n in range(3))))
        assert found.net_mj.high is not None
        assert found.gross_mj.high is not None
        assert found.net_mj.high - found.net_mj.value == pytest.approx(20, rel=0.01)
        assert found.gross_mj.high - found.gross_mj.value < 1

    def test_clocks_that_may_differ_widen_it(self) -> None:
        # 3 W more at work, for 0.1 s too long or short, over 100 inferences: 3 mJ, twice
        found = energy(powered_run(*rounds(5.0, clock_error_ns=ns(0.1))))
        assert found.net_mj.high is not None
        assert found.net_mj.high - found.net_mj.value == pytest.approx(6, rel=0.01)

    def test_the_whole_board_is_estimated_beside_it(self) -> None:
        estimate = BoardEstimate(scale=1.1451, offset_w=0.5879, gain=0.075, source="users")
        sensor = msgspec.structs.replace(SENSOR, estimate=estimate)
        board = energy(powered_run(*rounds(5.0), sensor=sensor)).board_net_mj
        assert board is not None
        assert board.low is not None
        assert board.value == pytest.approx(300 * 1.1451, rel=0.001)
        assert board.value - board.low == pytest.approx(2 * 0.075 * board.value, rel=0.01)
        alone = energy(powered_run(*rounds(5.0, 1), sensor=sensor)).board_net_mj
        assert alone is not None
        assert alone.low is None

    def test_an_invalid_window_is_counted_and_the_others_stand(self) -> None:
        made = [*rounds(5.0), window(step(2.0, 5.0), round_=3, gap=(9, 12))]
        found = energy(powered_run(*made))
        assert (found.windows, found.invalid) == (3, 1)
        assert "could not be read" in found.reasons["invalid"]

    def test_nothing_valid_is_nothing_known(self) -> None:
        run = powered_run(window(step(2.0, 5.0), gap=(9, 12)))
        found, reason = energy_of(run, run.candidates[0])
        assert found is None
        assert reason.startswith("no window was valid: ina3221 could not be read")
        assert energy_of(run, run.candidates[1]) == (None, "its energy was not measured")

    def test_without_a_sensor_the_runs_reason_is_the_candidates(self) -> None:
        run = msgspec.structs.replace(powered_run(sensor=None), energy_reason="no sensor here")
        assert energy_of(run, run.candidates[0]) == (None, "no sensor here")


class TestRatio:
    def test_gain_cancels_between_candidates_of_one_board(self) -> None:
        sensor = msgspec.structs.replace(SENSOR, gain=0.2)
        made = [*rounds(5.0), *rounds(5.0, candidate="fast@all", inferences=200)]
        ratio = energy(powered_run(*made, sensor=sensor), "fast@all").ratio
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        assert ratio.value == pytest.approx(0.5, rel=0.001)
        assert ratio.high - ratio.low < 0.01

    def test_the_original_is_as_hungry_as_itself(self) -> None:
        assert energy(powered_run(*rounds(5.0))).ratio == msgspec.convert(
            {"value": 1.0, "low": 1.0, "high": 1.0}, type(energy(powered_run(*rounds(5.0))).net_mj)
        )

    def test_one_shared_round_has_a_ratio_without_an_interval(self) -> None:
        made = [*rounds(5.0, 1), *rounds(8.0, 1, candidate="fast@all")]
        ratio = energy(powered_run(*made), "fast@all").ratio
        assert ratio is not None
        assert (ratio.value, ratio.low) == (pytest.approx(2.0, rel=0.001), None)

    def test_no_shared_round_no_ratio(self) -> None:
        found = energy(powered_run(*rounds(5.0, 1, candidate="fast@all")), "fast@all")
        assert found.ratio is None
        assert "no round" in found.reasons["ratio"]

    def test_no_original_in_this_setting_no_ratio(self) -> None:
        run = powered_run(*rounds(5.0, candidate="fast@all"))
        alone = msgspec.structs.replace(run, candidates=run.candidates[1:])
        assert "the original" in energy(alone, "fast@all").reasons["ratio"]

    def test_a_load_that_cannot_be_told_from_rest_has_no_ratio_and_no_rank(self) -> None:
        made = [*rounds(5.0), *rounds(1.9, candidate="fast@all")]
        found = energy(powered_run(*made), "fast@all")
        assert found.ratio is None
        assert ranked_mj(found) == (None, "ina3221 cannot tell the load from rest")

    def test_a_model_of_the_power_never_ranks(self) -> None:
        found = energy(powered_run(*rounds(5.0), sensor=msgspec.structs.replace(SENSOR, grade="M")))
        value, reason = ranked_mj(found)
        assert value is None
        assert "a model" in reason


class TestPick:
    def run(self, fast_w: float, **changes: object) -> Run:
        return powered_run(*rounds(5.0, scatter=0.01), *rounds(fast_w, candidate="fast@all", scatter=0.01, **changes))

    def test_the_thriftiest_is_picked_by_net_energy(self) -> None:
        run = self.run(5.0, inferences=200)
        pick = choose(run, Goal(objective="energy"), summarise(run))
        assert pick.candidate == "fast@all"
        assert "150" in pick.reason

    def test_a_hungrier_variant_is_not_picked_whatever_its_latency(self) -> None:
        run = self.run(9.0)
        pick = choose(run, Goal(objective="energy"), summarise(run))
        assert pick.candidate == "original@all"
        assert "needs more energy than the original" in next(loser.reason for loser in pick.losers)

    def test_one_window_is_a_doubt(self) -> None:
        run = powered_run(*rounds(5.0, 1), *rounds(6.0, 1, candidate="fast@all"))
        pick = choose(run, Goal(objective="energy"), summarise(run))
        assert "by one window" in next(loser.reason for loser in pick.losers)

    def test_the_same_power_under_all_candidates_is_said(self) -> None:
        run = self.run(5.0, inferences=200)
        note = choose(run, Goal(), summarise(run)).energy_note
        assert note is not None
        assert "add no information" in note
        assert choose(self.run(9.0), Goal(), summarise(self.run(9.0))).energy_note is None
        assert constant_power([]) is None


class TestDrop:
    def test_who_needs_half_as_much_again_gets_no_more_windows(self) -> None:
        windows = [*rounds(5.0, 1), *rounds(7.0, 1, candidate="fast@all"), *rounds(5.5, 1, candidate="small@all")]
        run = powered_run(*windows, original=10.0, fast=5.0, small=6.0)
        assert not_worth_more(SENSOR)(windows, run.candidates) == ("fast@all",)

    def test_the_original_and_whoever_has_no_valid_window_stay(self) -> None:
        windows = [
            *rounds(9.0, 1),
            *rounds(5.0, 1, candidate="fast@all"),
            *rounds(9.0, 1, candidate="small@all", gap=(8, 12)),
        ]
        run = powered_run(*windows, original=10.0, fast=5.0, small=6.0)
        assert not_worth_more(SENSOR)(windows, run.candidates) == ()
        assert not_worth_more(SENSOR)(windows, run.candidates[:1]) == ()
