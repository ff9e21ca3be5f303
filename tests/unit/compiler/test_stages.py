"""Names of what is kept on the way, and what is made before what: pure."""

from __future__ import annotations

import msgspec
import pytest

from edgeopt.compiler.plan import Pins
from edgeopt.compiler.recipes import CLEAN, INT8_DYNAMIC, INT8_MIXED, INT8_STATIC, INT8_STEM, RECIPES
from edgeopt.compiler.stages import KEPT, Rung, Stage, needed_rung, shared_rungs, stages_of

PINS = Pins(max_opset=21, max_ir_version=10)


def keys(recipe, *, start="model", pins=PINS, samples="samples", **options):
    """Of the recipe's stages; `options` replace those that its steps have."""
    steps = [
        msgspec.structs.replace(
            step, options=step.options | {k: options[k] for k in options.keys() & step.options.keys()}
        )
        for step in recipe.steps
    ]
    return [stage.key for stage in stages_of(steps, start=start, pins=pins, samples=samples)]


def chain(*names):
    return tuple(Stage(after=after, key=key) for after, key in enumerate(names, 1))


def test_int8_is_kept_when_it_is_tidy_and_when_it_is_calibrated():
    stages = stages_of(INT8_STATIC.steps, start="model", pins=PINS, samples="s")
    assert [INT8_STATIC.steps[stage.after - 1].name for stage in stages] == ["same_answers", "calibrate"]


def test_the_last_step_makes_the_variant_itself():
    assert CLEAN.steps[-1].name in KEPT
    assert keys(CLEAN) == []
    assert stages_of((), start="model", pins=PINS, samples=None) == ()


def test_another_encoding_is_another_emission_only():
    assert keys(INT8_STATIC, activations="int8") == keys(INT8_STATIC, activations="uint8")


def test_mixed_begins_where_static_is_calibrated_and_the_stem_where_it_is_tidy():
    static, mixed, stem = keys(INT8_STATIC), keys(INT8_MIXED), keys(INT8_STEM)
    assert mixed[: len(static)] == static
    assert stem[0] == static[0]
    assert stem[1] != static[1]


def test_another_budget_keeps_the_tidy_graph():
    deep, standard = keys(INT8_STATIC, budget="deep"), keys(INT8_STATIC, budget="standard")
    assert deep[0] == standard[0]
    assert deep[1] != standard[1]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
@pytest.mark.parametrize("changed", [{"start": "other"}, {"samples": "other"}, {"samples": None}], ids=repr)
def test_another_model_or_other_samples_share_nothing(recipe, changed):
    assert not set(keys(recipe)) & set(keys(recipe, **changed))


def test_boards_that_read_what_is_needed_share_it_and_others_do_not():
    """Opset 13 is what QDQ needs."""
    newest, old, older = (keys(INT8_STATIC, pins=Pins(max_opset=opset, max_ir_version=8)) for opset in (21, 13, 12))
    assert newest == old
    assert not set(old) & set(older)


def test_a_step_that_is_not_known_is_taken_to_read_everything():
    def name(**changed):
        strange = msgspec.structs.replace(INT8_STATIC.steps[0], name="strange")
        given = {"start": "m", "pins": PINS, "samples": "s"} | changed
        return stages_of((strange, *INT8_STATIC.steps), **given)[0].key

    assert len({name(), name(samples="t"), name(pins=Pins(max_opset=21, max_ir_version=9)), name(start="n")}) == 4


def test_what_two_chains_share_is_made_before_them():
    chains = {"static": chain("tidy", "whole"), "stem": chain("tidy", "stem"), "mixed": chain("tidy", "whole", "part")}
    rungs = shared_rungs(chains)
    assert rungs == (
        Rung(stage=Stage(after=1, key="tidy"), users=("static", "stem", "mixed"), needs=None),
        Rung(stage=Stage(after=2, key="whole"), users=("static", "mixed"), needs="tidy"),
    )
    assert {name: needed_rung(stages, rungs) for name, stages in chains.items()} == {
        "static": "whole",
        "stem": "tidy",
        "mixed": "whole",
    }


def test_stages_that_the_same_chains_share_are_one_rung():
    """One child makes them in a row, and keeps both."""
    rungs = shared_rungs({"static": chain("tidy", "whole"), "mixed": chain("tidy", "whole", "part")})
    assert [rung.stage.key for rung in rungs] == ["whole"]
    assert rungs[0].needs is None


def test_what_nobody_shares_is_no_rung():
    chains = {"dynamic": chain("a"), "static": chain("b", "c"), "original": ()}
    assert shared_rungs(chains) == ()
    assert needed_rung(chains["static"], ()) is None
    assert keys(INT8_DYNAMIC)[0] != keys(INT8_STATIC)[0]
