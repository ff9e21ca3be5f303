"""Tables say everything at every width, and nothing that steers a terminal."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from edgeopt.domain.device import Device
from edgeopt.domain.pick import Pick
from edgeopt.domain.prior import PriorCheck
from edgeopt.domain.run import MeasurePlan, Run, plain_setting
from edgeopt.report.cells import safe
from edgeopt.report.conditions import conditions_line, conditions_of
from edgeopt.report.table import candidate_table, devices_table, doctor_table, plan_table, runs_table, variants_table
from edgeopt.store.index import RunRow
from tests.builders import NO_SENSOR, make_built, make_fidelity, make_pick, make_run, make_skipped, make_summary
from tests.unit.report.strategies import nasty, sentences, stories, variants

WIDTHS = st.sampled_from([60, 80, 110])
PRINTED = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40, deadline=None)


def printed(renderable: Any, width: int = 110) -> str:
    """What a terminal of this width would show, without colours."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def squeezed(text: str) -> str:
    """Without white space, so that wrapping does not matter."""
    return "".join(text.split())


def single_spaced(text: str) -> str:
    return " ".join(text.split())


def steers(text: str) -> list[str]:
    return [char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs")]


@given(story=stories(), width=WIDTHS)
@PRINTED
def test_every_loser_keeps_its_sentence_at_every_width(story: tuple[Run, Pick], width: int) -> None:
    """Whatever the records hold, the table renders, and each loser is named with the whole reason."""
    run, pick = story
    shown = squeezed(printed(candidate_table(run, pick), width))
    assert all(squeezed(safe(f"{loser.name}: {loser.reason}")) in shown for loser in pick.losers)


@given(story=stories(), width=WIDTHS)
@PRINTED
def test_no_line_is_wider_than_the_terminal(story: tuple[Run, Pick], width: int) -> None:
    lines = printed(candidate_table(*story), width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width


@given(story=stories(), built=variants, words=st.tuples(nasty, nasty, sentences), width=WIDTHS)
@PRINTED
def test_control_characters_never_come_out(story: tuple[Run, Pick], built: Any, words: Any, width: int) -> None:
    """A device or a file supplies every text here."""
    tables = (
        candidate_table(*story),
        variants_table(built),
        plan_table([(words[0], words[1], "int8", 1.5, words[2])]),
        doctor_table([(words[0], "ok", words[1], words[2])]),
        runs_table([make_row(app=words[0], device=words[1])]),
    )
    assert [steers(printed(table, width)) for table in tables] == [[]] * len(tables)


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    run = make_run(app="[red]app[/red]")
    assert "[red]app[/red] on kitchen" in printed(candidate_table(run, make_pick()))


def test_picked_candidate_is_marked_and_its_reason_told() -> None:
    lines = printed(candidate_table(make_run(), make_pick())).splitlines()
    assert lines[0] == "tiny on kitchen (Raspberry Pi 4), run 20261124-013045-7f3a9c"
    assert lines[1] == "picked int8@all: fastest of those that meet the goal"
    assert [line.split()[1] for line in lines if line.startswith(">")] == ["int8@all"]


def test_wide_table_shows_all_figures_of_a_candidate_on_one_line() -> None:
    shown = printed(candidate_table(make_run(), make_pick()), 110)
    row = next(line for line in shown.splitlines() if line.startswith(">"))
    assert single_spaced(row) == "> int8@all 4.00 5.000 9.900..10.10 10.50 80.0 - 100.00 >=98.00 2.00x trusted"


@pytest.mark.parametrize(("width", "there", "gone"), [(80, "p90", "verdict"), (60, "agrees", "p90")])
def test_narrow_table_gives_up_columns_but_not_bounds(width: int, there: str, gone: str) -> None:
    shown = printed(candidate_table(make_run(), make_pick()), width)
    assert there in shown
    assert gone not in shown
    assert "9.900..10.10" in shown
    assert ">=98.00" in shown
    assert "trusted" in shown


@pytest.mark.parametrize("width", [70, 80, 100, 120])
def test_a_name_of_usual_length_is_never_broken(width: int) -> None:
    """The table has fewer columns rather than names in pieces."""
    name = "int8-static@all"
    pick = make_pick(make_summary(candidate=name, p50_ms=0.395, p50_low_ms=0.3757, p50_high_ms=0.4276))
    lines = printed(candidate_table(make_run(), pick), width).splitlines()
    assert any(name in line and "0.3950" in line for line in lines)


def test_eighty_columns_have_room_for_the_p90() -> None:
    """Where nobody measured energy, its column makes room first."""
    pick = make_pick(make_summary(candidate="int8-dynamic@all", p50_low_ms=0.3757, p50_high_ms=0.4276))
    assert "p90" in printed(candidate_table(make_run(), pick), 80)


def test_energy_is_said_once_to_be_unmeasured() -> None:
    assert printed(candidate_table(make_run(), make_pick())).count(f"energy: not measured ({NO_SENSOR})") == 1


def test_measured_energy_stands_in_its_column() -> None:
    shown = printed(candidate_table(make_run(), make_pick(make_summary(energy_mj=12.5))))
    assert "not measured" not in shown
    assert "12.50" in shown


@pytest.mark.parametrize(
    ("status", "words"),
    [("goal-not-met", "nothing picked (goal not met): too slow"),
     ("inconclusive", "nothing picked (inconclusive): too slow")],
)  # fmt: skip
def test_no_pick_is_said_in_words(status: Any, words: str) -> None:
    pick = make_pick(status=status, candidate=None, variant=None, reason="too slow")
    shown = printed(candidate_table(make_run(), pick))
    assert words in shown
    assert not [line for line in shown.splitlines() if line.startswith(">")]


def test_a_run_without_candidates_still_has_a_story() -> None:
    pick = make_pick(
        candidate=None, variant=None, status="inconclusive", reason="there was none", summaries=(), losers=()
    )
    shown = printed(candidate_table(make_run({}), pick))
    assert "there was none" in shown
    assert "threads none" in shown


def test_conditions_name_board_runtime_threads_rounds_and_seed() -> None:
    last = printed(candidate_table(make_run(), make_pick()), 200).splitlines()[-1]
    assert last == (
        "kitchen: Raspberry Pi 4 Model B Rev 1.4, 4 cores; governor ondemand; onnxruntime 1.21.0; "
        "threads all; 8 rounds; seed 0"
    )


def test_conditions_name_every_runtime_with_its_own_version() -> None:
    run = make_run({"original": 9.0, "b": 5.0, "c": 7.0})
    original, b, c = run.candidates[:3]
    others = (
        msgspec.structs.replace(b, setting=plain_setting("openvino", b.setting.threads)),
        msgspec.structs.replace(c, setting=plain_setting("litert", c.setting.threads)),
    )
    blocks = tuple(
        msgspec.structs.replace(block, runtime_version={b.id: "2026.4.1", c.id: None}.get(block.candidate, "1.21.0"))
        for block in run.blocks
    )
    run = msgspec.structs.replace(
        run, candidates=(original, *others), blocks=blocks, versions={"litert (device)": "2.3.0"}
    )
    assert "litert 2.3.0, onnxruntime 1.21.0, openvino 2026.4.1; " in conditions_line(run)
    nobody = msgspec.structs.replace(run, blocks=(), versions={})
    assert "litert of unknown version, onnxruntime of unknown version" in conditions_line(nobody)
    assert conditions_of(nobody).runtime_version is None


def test_a_phone_is_named_by_its_model() -> None:
    run = make_run(facts={"android": {"model": "Pixel 8"}, "cpu": {"cores": 9}})
    assert conditions_line(run).startswith(f"{run.device.name}: Pixel 8, 9 cores")


def test_times_of_a_virtual_machine_are_no_board_s() -> None:
    facts = make_run().facts
    facts = facts | {"board": facts["board"] | {"virtual": "its device tree says linux,dummy-virt"}}
    last = printed(candidate_table(make_run(facts=facts), make_pick()), 250).splitlines()[-1]
    assert (
        "4 cores; a virtual machine (its device tree says linux,dummy-virt): these times say nothing about a board; gov"
        in last
    )


@pytest.mark.parametrize("facts", [{}, {"cpu": "x", "board": None, "governor": 3}, {"cpu": {"cores": "4", "model": 7}}])
def test_conditions_do_not_believe_odd_facts(facts: dict[str, Any]) -> None:
    """An agent that says nothing, or nonsense, is said to be unknown."""
    run = make_run({}, facts=facts, versions={}, samples=None)
    last = printed(candidate_table(run, make_pick()), 200).splitlines()[-1]
    assert last == "kitchen: a CPU that is not known; onnxruntime of unknown version; threads none; 0 rounds; seed 0"


def test_conditions_tell_of_synthetic_inputs_and_thread_counts() -> None:
    run = make_run()
    samples = type(run.samples)(source="random numbers", count=16, calibration=0, heldout=0, digest="0", synthetic=True)
    candidate = make_run().candidates[0]
    setting = type(candidate.setting)(threads=2)
    two = type(candidate)(id="original@2", variant="original", setting=setting)
    run = make_run(samples=samples, candidates=(candidate, two))
    last = printed(candidate_table(run, make_pick()), 200).splitlines()[-1]
    assert last.endswith("threads all, 2; 8 rounds; seed 0; inputs are random numbers")


def test_conditions_tell_that_disturbed_blocks_were_accepted() -> None:
    run = make_run(plan=MeasurePlan(accept_disturbed=True))
    assert printed(candidate_table(run, make_pick()), 200).rstrip().endswith("seed 0; disturbed blocks count")


def test_variants_show_what_was_built_and_why_not() -> None:
    small = make_built("int8", size=1_000_000, encoding="int8 dynamic", cached=True, fidelity=make_fidelity(0.995))
    same = make_built(fidelity=make_fidelity(1.0, sqnr_db=None, identical=True))
    shown = printed(variants_table([same, small, make_skipped()])).splitlines()
    assert [single_spaced(line) for line in shown if line.startswith(("original", "int8"))] == [
        "original fp32 4.00 100.0% 100.00 exact 1.2 s",
        "int8 int8 dynamic 1.00 25.0% 99.50 31.50 cached",
    ]
    assert shown[-1] == "fp16: skipped, this CPU has no fp16 instructions"


def test_variants_without_original_or_fidelity_show_dashes() -> None:
    shown = printed(variants_table([make_built("int8", fidelity=None)])).splitlines()[-1]
    assert single_spaced(shown) == "int8 fp32 4.00 - - - 1.2 s"


def make_row(**changes: Any) -> RunRow:
    fields = {
        "id": "20261124-013045-7f3a9c", "created_at": "2026-11-24T01:30:45+00:00", "app": "tiny", "device": "kitchen",
        "profile": "pi4", "model": "tiny", "model_digest": "0", "status": "picked", "candidate": "int8@all",
        "summary": None, "host": "desk", "file": "x.json", "sha256": "0",
    }  # fmt: skip
    return RunRow(**(fields | changes))


def test_runs_show_their_pick_or_a_dash() -> None:
    shown = printed(runs_table([make_row(), make_row(status=None, candidate=None)])).splitlines()
    assert shown[-2].split()[-2:] == ["picked", "int8@all"]
    assert shown[-1].split()[-2:] == ["-", "-"]


def test_devices_show_how_they_are_reached_and_their_threads() -> None:
    own = Device(name="shed", profile="pi5", address="local:", python="/opt/py", threads=(0, 2))
    other = Device(name="attic", profile="pi4", address="ssh://pi@attic")
    shown = printed(devices_table([own, other])).splitlines()
    assert single_spaced(shown[-2]) == "shed pi5 local: /opt/py all, 2"
    assert single_spaced(shown[-1]) == "attic pi4 ssh://pi@attic python3 as profile"


def test_doctor_puts_advice_below_what_was_found() -> None:
    shown = printed(doctor_table([("disk", "warn", "0.1 GB free", "Free some."), ("isa", "unknown", "silent", None)]))
    lines = [line.split() for line in shown.splitlines()]
    assert lines[-3:] == [["warn", "disk", "0.1", "GB", "free"], ["Free", "some."], ["unknown", "isa", "silent"]]


def test_plan_says_what_will_not_be_built_and_why() -> None:
    shown = printed(
        plan_table([("int8", "Weights", "int8", 12.5, None), ("fp16", "Halves", "fp16", None, "no samples")])
    )
    built, left_out = shown.splitlines()[-2:]
    assert built.split()[-2:] == ["12.50", "yes"]
    assert left_out.rstrip().endswith("no: no samples")


def test_a_measurement_far_from_the_expectation_has_its_sentence() -> None:
    check = PriorCheck(
        candidate="int8@all", expected_ms=1.0, measured_ms=5.0, factor=5.0, sentence="int8@all is 5 times slower"
    )
    shown = printed(
        candidate_table(make_run(), make_pick(prior=(check, msgspec.structs.replace(check, sentence=None))))
    )
    assert shown.count("expectation: int8@all is 5 times slower") == 1


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (MeasurePlan(scenario="fixed-rate", rate_hz=30.0), "30 inferences a second, latency from the scheduled time"),
        (MeasurePlan(scenario="multi-stream", streams=3), "multi-stream, 3 at once"),
        (MeasurePlan(scenario="offline", streams=8), "offline, 8 in a batch or at once"),
    ],
)
def test_a_scenario_other_than_one_after_the_other_is_a_condition(plan: MeasurePlan, words: str) -> None:
    assert words in " ".join(printed(candidate_table(make_run(plan=plan), make_pick())).split())


def test_throughput_and_waiting_are_columns_where_they_were_measured() -> None:
    def head(**changes: float) -> str:
        return printed(candidate_table(make_run(), make_pick(make_summary("int8", **changes))), 140)

    assert "second" not in head()
    assert "late" not in head()
    assert "994.0" in head(throughput=994.0)
    assert "18.33" in head(late_share=0.18333)


def test_settings_that_did_not_go_on_are_told_with_their_reason() -> None:
    shown = printed(candidate_table(make_run(pruned_settings={"1": "needs twice the time"}), make_pick()))
    assert "@1: needs twice the time" in shown


def test_tables_can_be_printed_in_ascii() -> None:
    """A serial console or LANG=C must not end in an encoding error."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    Console(file=file, width=110).print(candidate_table(make_run(), make_pick()), variants_table([make_built()]))
    file.flush()
    assert b"int8@all" in raw.getvalue()
