"""The steps of recipes that train: `recover`, where the original, made tidy as the student was, teaches the student; and `train_int8`, where the float network teaches its int8 self. Child side."""

from __future__ import annotations

from typing import Any

from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds

MISSING = "training needs PyTorch: pip install 'edgeopt[torch]'"
TIDY = ("clean", "float32")
"""Steps that a student went through before it was made smaller; then `upgrade_opset`."""


def recover_step(model: Any, options: dict[str, Any], bench: Any, samples: Feeds) -> Any:
    """Train a pruned graph against the original.

    Args:
        model: the student.
        options: `budget`, `trainable`, `objectives`, `task`, `seed`, `at_least` (the opset that the student was brought to), and at will `steps` in place of the budget's.
        bench: of the build; its notes get what came of it.
        samples: unlabelled.

    Raises:
        Refused: torch-missing; see `recover` for the rest.
    """
    try:
        from edgeopt.compiler.train.recover import Place, Wishes, recover
    except ImportError as error:
        raise Refused("torch-missing", MISSING) from error
    made, notes = recover(model, _teacher(options, bench), samples, Wishes(**_wished(options)), Place(**_place(bench)))
    bench.notes.extend(notes)
    return made


def train_int8_step(found: Any, options: dict[str, Any], bench: Any, samples: Feeds) -> Any:
    """Train a calibrated network, once what does not fuse is float, so that nothing is calibrated anew behind the training.

    Args:
        found: as `calibrate` made it.
        options: those of `recover` but `at_least`, and `encoding` and `rules` of `emit_qdq`.
        bench: of the build; its notes get what came of it.
        samples: unlabelled; those that it was calibrated on.

    Raises:
        Refused: torch-missing; see `settled` and `train_int8` for the rest.
    """
    try:
        from edgeopt.compiler.train.int8 import LEARNING_RATE, train_int8
        from edgeopt.compiler.train.recover import Place, Wishes
    except ImportError as error:
        raise Refused("torch-missing", MISSING) from error
    from edgeopt.compiler.quantize.budgets import BUDGETS
    from edgeopt.compiler.quantize.encoding import ENCODINGS
    from edgeopt.compiler.quantize.ladder import settled

    fused = settled(
        found,
        samples,
        encoding=ENCODINGS[options["encoding"]],
        arm=options["rules"] == "arm",
        budget=BUDGETS[options["budget"]],
        scratch=bench.scratch,
    )
    wishes = Wishes(**_wished(options), learning_rate=LEARNING_RATE)
    made, notes = train_int8(fused, samples, wishes, Place(**_place(bench)))
    bench.notes.extend(notes)
    return made


def _wished(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "budget": str(options["budget"]),
        "trainable": str(options["trainable"]),
        "objectives": tuple(options["objectives"]),
        "task": options["task"],
        "seed": int(options["seed"]),
        "steps": options.get("steps"),
    }


def _place(bench: Any) -> dict[str, Any]:
    return {"deadline": bench.deadline, "folder": bench.training, "curves": bench.curves}


def _teacher(options: dict[str, Any], bench: Any) -> Any:
    """The original in the form that the student was made from, so that their tensors have the same names."""
    import msgspec
    import onnx

    from edgeopt.compiler.reading import parse
    from edgeopt.compiler.steps import STEPS

    teacher = parse(bench.source)
    onnx.load_external_data_for_model(teacher, str(bench.source.parent))
    # What is said of the original was said when the student went this way.
    quiet = msgspec.structs.replace(bench, notes=[])
    for name in TIDY:
        teacher = STEPS[name](teacher, {}, quiet)
    return STEPS["upgrade_opset"](teacher, {"at_least": options["at_least"]}, quiet)
