"""What `edgeopt init` guesses and writes."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgeopt.profiles.config import ProjectConfig
from edgeopt.profiles.decode import decode_toml
from edgeopt.profiles.init import MAX_ENTRIES, Answers, Guess, app_name, guess_answers, render_config

TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NAME = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
LIMIT = st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@given(
    st.builds(
        Answers,
        model=TEXT,
        samples=TEXT,
        app=st.none() | NAME,
        device=NAME,
        max_latency_p90_ms=LIMIT,
        max_memory_mb=LIMIT,
        max_size_mb=LIMIT,
        min_agreement=st.floats(0, 1),
    )
)
def test_what_is_written_reads_back_as_answered(answers: Answers) -> None:
    """Whatever the paths are called."""
    config = decode_toml(render_config(answers).encode(), ProjectConfig, source="x")
    assert (config.model, config.samples, config.app) == (answers.model, answers.samples, answers.app)
    assert config.devices == (answers.device,)
    assert (config.goal.max_latency_p90_ms, config.goal.min_agreement) == (
        answers.max_latency_p90_ms,
        answers.min_agreement,
    )
    assert (config.goal.max_memory_mb, config.goal.max_size_mb) == (answers.max_memory_mb, answers.max_size_mb)


def test_every_commented_key_is_right_when_uncommented() -> None:
    """The file is how people learn the keys; it names every one."""
    text = render_config(Answers())
    lines = [re.sub(r"^# (?=[a-z_0-9]+ += |\[)", "", line) for line in text.splitlines()]
    config = decode_toml("\n".join(lines).encode(), ProjectConfig, source="x")
    assert config.preprocess is not None
    for record in (config, config.goal, config.preprocess, config.measure, config.recovery):
        for key in record.__struct_fields__:
            assert key in {"schema", "pad", "seed"} or re.search(rf"(?m)^(# )?(\[{key}\]|{key} +=)", text), key


def test_images_call_for_a_look_at_the_preprocessing() -> None:
    """It is the commonest silent mistake."""
    assert "check these against the training code" in render_config(Answers(images=True))
    assert "check these" not in render_config(Answers())


def test_the_nearest_model_and_the_fullest_folder_are_guessed(tmp_path: Path) -> None:
    """Hidden and installed things are not looked at."""
    touch(
        tmp_path,
        "net.onnx",
        "old/net.onnx",
        ".venv/lib/x.onnx",
        "node_modules/x.onnx",
        "imgs/a.jpg",
        "imgs/b.PNG",
        "few/a.npy",
        "labels.csv",
    )
    guess = guess_answers(tmp_path)
    assert guess == Guess(models=("net.onnx", "old/net.onnx"), samples=("imgs", "few"), images=frozenset({"imgs"}))
    assert guess.answers() == Answers(model="net.onnx", samples="imgs", app="net", images=True)


def test_two_models_side_by_side_are_a_question(tmp_path: Path) -> None:
    """Neither is taken without asking."""
    touch(tmp_path, "a.onnx", "b.onnx", "x.npy")
    answers = guess_answers(tmp_path).answers()
    assert answers == Answers(samples=".")


def test_an_empty_folder_gives_no_guess(tmp_path: Path) -> None:
    """The file is written with everything commented out."""
    assert guess_answers(tmp_path).answers() == Answers()


def test_a_deep_or_huge_folder_is_not_searched_to_the_end(tmp_path: Path) -> None:
    """The question must not take minutes."""
    touch(tmp_path, "a/b/c/d/near.onnx", "a/b/c/d/e/far.onnx", "a/phone.tflite")
    assert guess_answers(tmp_path).models == ("a/phone.tflite", "a/b/c/d/near.onnx")
    assert MAX_ENTRIES < 100_000


def test_an_app_is_named_for_its_model() -> None:
    """With the characters that names have."""
    assert app_name("models/My Net (v2).onnx") == "My-Net-v2"
    assert app_name("._.onnx") == "app"
    assert app_name("模型.onnx") == "app"
    assert len(app_name("x" * 200 + ".onnx")) == 63
