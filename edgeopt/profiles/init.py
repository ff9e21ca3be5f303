"""The edgeopt.toml that `edgeopt init` writes, and what it guesses from a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from edgeopt.domain.goal import Objective
from edgeopt.profiles.toml_text import toml_value

MAX_ENTRIES = 20_000
MAX_DEPTH = 4
_SAMPLE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".npy", ".npz")
_SKIPPED = {"node_modules", "__pycache__", "site-packages", "build", "dist"}


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What `edgeopt init` asks. Paths are relative to the project's folder, with `/`. None: leave the key out, commented."""

    model: str | None = None
    samples: str | None = None
    app: str | None = None
    device: str = "local"
    objective: Objective = "latency"
    max_latency_p90_ms: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None
    min_agreement: float = 0.98
    images: bool = False


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder seems to hold. More than one entry is a question for the user; the first is the likeliest."""

    models: tuple[str, ...]
    samples: tuple[str, ...]
    images: frozenset[str] = frozenset()

    def answers(self) -> Answers:
        """What `--yes` takes: the model when it is the only one at its depth, the likeliest samples."""
        model = self.models[0] if self.models and _only(self.models) else None
        samples = self.samples[0] if self.samples else None
        return Answers(
            model=model, samples=samples, app=None if model is None else app_name(model), images=samples in self.images
        )


def guess_answers(folder: Path) -> Guess:
    """Look for models (`*.onnx` and `*.tflite`, those nearest to `folder` first) and folders of samples (those with the most files first). Bounded; follows no links."""
    models: list[str] = []
    counts: dict[str, int] = {}
    images: set[str] = set()
    seen = 0
    for place, folders, files in os.walk(folder):
        relative = Path(place).relative_to(folder)
        deep = len(relative.parts) >= MAX_DEPTH or seen > MAX_ENTRIES
        folders[:] = (
            [] if deep else sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        )
        seen += len(files) + len(folders)
        endings = [Path(name).suffix.lower() for name in files[:MAX_ENTRIES]]
        models += [(relative / name).as_posix() for name in files if name.lower().endswith((".onnx", ".tflite"))]
        if count := sum(ending in _SAMPLE_ENDINGS for ending in endings):
            counts[relative.as_posix()] = count
        if any(ending in _SAMPLE_ENDINGS[:5] for ending in endings):
            images.add(relative.as_posix())
    return Guess(
        models=tuple(sorted(models, key=lambda name: (name.count("/"), name))),
        samples=tuple(sorted(counts, key=lambda name: (-counts[name], name))),
        images=frozenset(images),
    )


def app_name(model: str | Path) -> str:
    """The name under which a model is installed, from its file's name: letters, digits and `._-`."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).stem).strip("._-")
    return cleaned[:63] or "app"


def render_config(answers: Answers) -> str:
    """The file's text: every key explained, those not answered commented out.

    Raises:
        ValueError: an answer cannot be written as TOML (not Unicode text, not a finite number).
    """
    a = answers
    parts = [
        "# edgeopt.toml: what to deploy, on what, and how good it must stay. Paths are relative to this file.",
        "# Check it with:  edgeopt deploy --dry-run",
        "",
        _line("model", a.model, "models/model.onnx", "the trained model"),
        _line(
            "samples",
            a.samples,
            "samples/",
            'unlabelled inputs: a folder of images, .npy or .npz files, module:function, or "synthetic"',
        ),
        _line("student", None, "models/small.onnx", "a smaller network that is trained to answer as the model does"),
        _line("app", a.app, "my-app", "its name on the device; default: the model's file name"),
        _line(
            "devices",
            [a.device],
            "",
            "names from `edgeopt device list`; `local` is this computer; the first is the default",
        ),
        _line(
            "calibration", None, 200, "samples that calibrate int8; the others judge the result. At most half is taken"
        ),
        _line(
            "task",
            None,
            "classification",
            "or detection, segmentation, embedding, regression, tokens, other; default: guessed from the model",
        ),
        _line("recipes", None, ["clean", "int8-static"], "what to try; default: the device's profile"),
        _line(
            "runtimes",
            None,
            ["onnxruntime", "litert"],
            "what may run it; default: all of the device's profile that are there",
        ),
        _line(
            "budget", None, "standard", "how long int8 may search: instant, standard (minutes) or deep (up to an hour)"
        ),
        _line("executor", None, "tcp://host:8786", "a Dask scheduler whose workers build; default: this computer"),
        "",
        "[goal]",
        _line("objective", a.objective, "", "what to make small: latency, energy, memory or size"),
        _line("then", None, ["memory"], "what decides between those that are alike in it"),
        "# weights = { latency = 0.7, memory = 0.3 }  # several at once, instead of the objective",
        _line(
            "min_agreement", a.min_agreement, "", "share of answers that must equal the original's; 0 switches it off"
        ),
        _line("max_latency_p90_ms", a.max_latency_p90_ms, 50.0, "limit of the 90th percentile"),
        _line("max_latency_p50_ms", None, 40.0, "limit of the median"),
        _line("max_memory_mb", a.max_memory_mb, 200.0, "limit of the whole process's peak"),
        _line("max_size_mb", a.max_size_mb, 10.0, "limit of the model's files"),
        _line(
            "max_certified_accuracy_drop",
            None,
            0.05,
            "limit of the accuracy lost, proven with 95 % confidence; classifiers only",
        ),
        _line("accept_synthetic", None, True, 'agreement on synthetic inputs counts (samples = "synthetic")'),
        _line(
            "accept_unchecked", None, True, "install also where a phone cannot give the network's answers to check them"
        ),
        "",
        *_preprocess(images=a.images),
        "",
        *_text(),
        "",
        "# How pruned networks are trained (pip install 'edgeopt[torch]').",
        "# [recovery]",
        _line("objectives", None, ["seed"], "beside mimicry: masked, nce, seed, minilm, mlm, clm, plm, multitask"),
        _line("trainable", None, "affine", "all, affine (biases, scales, norms) or lora"),
        "",
        "# Inputs with dynamic axes need a shape when the samples do not give it.",
        "# [shapes]",
        "# input = [1, 3, 224, 224]",
        "",
        "# How long to measure.",
        "# [measure]",
        _line("rounds", None, 8, "a fixed number; without it the race decides, from 6 to 24"),
        _line("min_rounds", None, 6, "fewest rounds of a race: fewer carry no 95 % interval"),
        _line("max_rounds", None, 24, "most rounds of a race"),
        _line("epsilon", None, 0.02, "latencies that differ by less are a tie"),
        _line("budget_s", None, 600, "most seconds that the rounds may take on the board"),
        _line("block_min_s", None, 1.0, "seconds per candidate and round, at least"),
        _line("block_timeout_s", None, 120.0, "seconds after which a candidate counts as hanging"),
        _line("settings", None, "fixed", "all cores and nothing else; auto compares threads and fast cores first"),
        _line("scenario", None, "fixed-rate", "single-stream, multi-stream, fixed-rate or offline"),
        _line("streams", None, 4, "at once, in multi-stream and offline"),
        _line("rate_hz", None, 30.0, "inferences a second, in fixed-rate"),
        _line("sustained_minutes", None, 10.0, "then run the pick back to back until the temperature is flat"),
        _line("seed", None, 0, "of every random choice"),
        _line(
            "energy",
            None,
            "auto",
            "true, false, or auto: measure energy when it is the objective and there is a sensor",
        ),
        _line("energy_rounds", None, 3, "energy windows of every candidate"),
        _line("energy_load_s", None, 10.0, "seconds of work in each, at least; it rests for five before and after"),
        _line(
            "accept_disturbed",
            None,
            False,
            "count blocks that other programs disturbed, on boards that are never quiet",
        ),
    ]
    return "\n".join(parts) + "\n"


def _preprocess(*, images: bool) -> list[str]:
    """The `[preprocess]` part: explained, off. Left out, size, layout and channels follow from the model and pixels become 0..1."""
    state = (
        "Your samples are images: check these against the training code." if images else "Only for folders of images."
    )
    return [
        f"# How images become tensors. {state}",
        "# Without this table: size, layout and channels follow from the model, pixels are scaled to 0..1.",
        "# [preprocess]",
        _line("resize", None, [224, 224], "[width, height], or the length of the shorter side"),
        _line("crop", None, [224, 224], "[width, height] around the centre"),
        _line("resample", None, "bilinear", "bilinear, bicubic or nearest"),
        _line("letterbox", None, False, "keep the proportions and fill the rest"),
        _line("channels", None, "RGB", "RGB, BGR or GRAY"),
        _line("layout", None, "NCHW", "NCHW or NHWC"),
        _line("scale", None, 0.00392156862745098, "pixels are 0..255; 1/255 makes them 0..1"),
        _line("mean", None, [0.485, 0.456, 0.406], "subtracted after scale"),
        _line("std", None, [0.229, 0.224, 0.225], "divided by after mean"),
        _line("dtype", None, "float32", "default: the model's"),
    ]


def _text() -> list[str]:
    """The `[text]` part: explained, off."""
    return [
        "# How texts become tokens. Only for samples in .txt files (one a line) and .jsonl files.",
        "# [text]",
        _line("tokenizer", None, "models/bert", "a folder with tokenizer.json or vocab.txt; default: the model's own"),
        _line("max_length", None, 128, "longer texts are cut; default: what the tokenizer's folder says"),
        _line("pad_to", None, 128, "make every text that long, as TFLite needs; default: every text keeps its length"),
        _line("field", None, "text", 'of each line of a .jsonl file; ["premise", "hypothesis"] makes pairs'),
    ]


def _line(key: str, value: object, example: object, comment: str) -> str:
    """`key = value  # comment`, or commented out with an example when there is no value."""
    shown = example if value is None else value
    text = f"{key} = {toml_value(shown)}"  # type: ignore[arg-type]  # only what toml_value takes is written here
    return f"{'# ' if value is None else ''}{text:<42}# {comment}"


def _only(models: tuple[str, ...]) -> bool:
    """Whether the first model is the only one at its depth."""
    return len(models) == 1 or models[0].count("/") < models[1].count("/")
