"""TOML becomes a record, or one sentence that names the key, what was found and what is allowed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from edgeopt.domain.device import Profile
from edgeopt.errors import ConfigError
from edgeopt.profiles.allowed import child_type, field_names, words
from edgeopt.profiles.config import ProjectConfig
from edgeopt.profiles.decode import MAX_FILE_BYTES, decode, decode_toml, read_toml
from edgeopt.profiles.inventory import Inventory

NAME = "a name of at most 63 letters, digits, '.', '_' and '-' that begins with a letter or digit"

BAD = [
    ("[goal]\nmin_agreement = 1.7", "goal.min_agreement: found 1.7 (float), allowed: a number from 0 to 1"),
    ("[goal]\nmax_size_mb = 0", "goal.max_size_mb: found 0 (integer), allowed: a number above 0"),
    ("[goal]\nmax_size_mb = '5 MB'", 'goal.max_size_mb: found "5 MB" (string), allowed: a number above 0'),
    ("[goal]\nmax_size_mb = inf", "goal.max_size_mb: found Infinity (float), allowed: a finite number"),
    ("[goal]\nmin_agreement = nan", "goal.min_agreement: found NaN (float), allowed: a finite number"),
    (
        '[goal]\nobjective = "speed"',
        'goal.objective: found "speed" (string), allowed: "energy" or "latency" or "memory" or "size"',
    ),
    (
        "[goal]\nobjective = true",
        'goal.objective: found true (boolean), allowed: "energy" or "latency" or "memory" or "size"',
    ),
    ("goal = 3", "goal: found 3 (integer), allowed: a table"),
    (
        "modle = 'a.onnx'",
        'modle: unknown key, allowed: schema, app, model, student, samples, calibration, task, devices, recipes, runtimes, budget, recovery, executor, goal, preprocess, text, shapes, measure; did you mean "model"?',
    ),
    (
        "[goal]\nzzz = 1",
        "goal.zzz: unknown key, allowed: objective, then, weights, max_latency_p50_ms, max_latency_p90_ms, max_memory_mb, max_size_mb, min_agreement, max_certified_accuracy_drop, accept_synthetic, accept_unchecked",
    ),
    ("model = ''", 'model: found "" (string), allowed: text that is not empty'),
    ("model = 2026-11-24", 'model: found "2026-11-24" (date or time), allowed: text that is not empty'),
    ("app = 'my app'", f'app: found "my app" (string), allowed: {NAME}'),
    ("devices = ['pi4', 7]", f"devices[1]: found 7 (integer), allowed: {NAME}"),
    ("devices = 'pi4'", f'devices: found "pi4" (string), allowed: a list, each {NAME}'),
    ("recipes = []", f"recipes: found [] (array), allowed: a list of at least 1, each {NAME}"),
    ("calibration = 1.5", "calibration: found 1.5 (float), allowed: a whole number from 0 to 100000"),
    (
        "calibration = 100000000000000000000000000",
        "calibration: found 100000000000000000000000000 (integer), allowed: a whole number from 0 to 100000",
    ),
    (
        "[shapes]\nok = [1]\n'a b' = [1, 0]",
        'shapes."a b"[1]: found 0 (integer), allowed: a whole number from 1 to 2147483647',
    ),
    (
        "[shapes]\nok = [1]\nimages = 3",
        "shapes.images: found 3 (integer), allowed: a list, each a whole number from 1 to 2147483647",
    ),
    (
        "[shapes]\nimages = { x = 1 }",
        'shapes.images: found {"x": 1} (table), allowed: a list, each a whole number from 1 to 2147483647',
    ),
    (
        "[preprocess]\nresize = [1, 2, 3]",
        "preprocess.resize: found [1, 2, 3] (array), allowed: a whole number from 1 to 16384 or a list of 2, each a whole number from 1 to 16384",
    ),
    ("[preprocess]\nletterbox = 1", "preprocess.letterbox: found 1 (integer), allowed: true or false"),
    ("[preprocess]\nmean = []", "preprocess.mean: found [] (array), allowed: a list of 1 to 3, each a number"),
    ("[preprocess]\nmean = [1, 2]", "preprocess: mean has 2 values, allowed: 1 or 3"),
    ("[preprocess]\nchannels = 'GRAY'\nstd = [1, 2, 3]", "preprocess: std has 3 values, allowed: 1"),
    ("[preprocess]\nstd = [0]", "preprocess: std has a value that is not above 0"),
    ("[preprocess]\nletterbox = true\nresize = 5", "preprocess: letterbox needs resize = [width, height]"),
    ("[measure]\nblock_min_s = 0", "measure.block_min_s: found 0 (integer), allowed: a number from 0.01 to 600"),
    ("schema = 2", "schema: found 2 (integer), allowed: 1"),
    ("[goal]\nmax_size_mb = " + "9" * 400, None),
    ("x = " + "9" * 5000, None),
    ("x = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_a_bad_file_is_answered_with_one_sentence(text: str, sentence: str | None) -> None:
    """The file, the key, what was found, what is allowed."""
    with pytest.raises(ConfigError) as caught:
        decode_toml(text.encode(), ProjectConfig, source="edgeopt.toml")
    assert caught.value.message.startswith("edgeopt.toml: ")
    assert "\n" not in caught.value.message
    if sentence is not None:
        assert caught.value.message == f"edgeopt.toml: {sentence}"


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = $", "line 1, column 5: "), ("a = 1\n[b\nc = 1", "line 2, column 3: "), ("a = 'x", "at its end: ")],
)
def test_a_syntax_error_says_where(text: str, place: str) -> None:
    """The words behind the place are the TOML reader's own."""
    with pytest.raises(ConfigError) as caught:
        decode_toml(text.encode(), ProjectConfig, source="edgeopt.toml")
    assert caught.value.message.startswith(f"edgeopt.toml: {place}")


def test_bytes_that_are_not_utf8_are_located() -> None:
    """The line is named."""
    with pytest.raises(ConfigError, match="x: line 2: not UTF-8 text"):
        decode_toml(b"a = 1\nb = '\xff'", ProjectConfig, source="x")


def test_a_missing_key_is_named_with_what_it_takes() -> None:
    """Also inside a list."""
    with pytest.raises(ConfigError, match=r"^x: device\[1\]\.address: missing, allowed: text$"):
        decode_toml(
            b"[[device]]\nname='a'\nprofile='p'\naddress='local:'\n[[device]]\nname='b'\nprofile='p'",
            Inventory,
            source="x",
        )
    with pytest.raises(ConfigError, match=r"^x: name: missing, allowed: a name of"):
        decode({}, Profile, source="x")


def test_data_that_is_no_table_is_refused() -> None:
    """There is no key to name then."""
    with pytest.raises(ConfigError, match=r"^the goal: found \[1\] \(array\), allowed: a table$"):
        decode([1], ProjectConfig, source="the goal")


def test_a_long_value_is_shortened() -> None:
    """A message stays readable."""
    with pytest.raises(ConfigError) as caught:
        decode({"task": "x" * 500}, ProjectConfig, source="x")
    assert len(caught.value.message) < 240


class _Odd(msgspec.Struct, forbid_unknown_fields=True):
    pair: tuple[int, float] | None = None
    many: Annotated[tuple[int, ...], msgspec.Meta(max_length=2)] = ()
    low: Annotated[int, msgspec.Meta(ge=3)] = 3
    high: Annotated[float, msgspec.Meta(gt=1, lt=2)] = 1.5
    top: Annotated[float, msgspec.Meta(le=2)] = 1.5
    code: Annotated[str, msgspec.Meta(pattern="^x")] = "x"
    nested: dict[str, dict[str, Literal[1, 2]]] = {}
    inner: _Inner | None = None


class _Inner(msgspec.Struct):
    value: int


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"pair": [1, "x"]}, 'pair[1]: found "x" (string), allowed: a number'),
        ({"pair": [1]}, "pair: found [1] (array), allowed: a list of 2, each a whole number"),
        ({"many": [1, 2, 3]}, "many: found [1, 2, 3] (array), allowed: a list of at most 2, each a whole number"),
        ({"low": 2}, "low: found 2 (integer), allowed: a whole number of at least 3"),
        ({"high": 2.0}, "high: found 2.0 (float), allowed: a number above 1 and below 2"),
        ({"top": 3}, "top: found 3 (integer), allowed: a number of at most 2"),
        ({"code": "y"}, 'code: found "y" (string), allowed: text that matches ^x'),
        ({"nested": {"a": {"b": 1}, "c": {"d": 2, "e": 3}}}, "nested.c.e: found 3 (integer), allowed: 1 or 2"),
        ({"inner": {}}, "inner.value: missing, allowed: a whole number"),
        (
            {"low": dt.date(2026, 11, 24)},
            'low: found "2026-11-24" (date or time), allowed: a whole number of at least 3',
        ),
        ({"low": 10**5000}, None),
    ],
)
def test_every_kind_of_type_is_put_into_words(data: dict[str, Any], sentence: str | None) -> None:
    """Types that today's files do not use are covered as well."""
    if sentence is None:
        decode(data, _Odd, source="x")
        with pytest.raises(
            ConfigError, match=r"^x: many: found a very long number \(integer\), allowed: a list of at most 2"
        ):
            decode({"many": data["low"]}, _Odd, source="x")
        return
    with pytest.raises(ConfigError) as caught:
        decode(data, _Odd, source="x")
    assert caught.value.message == f"x: {sentence}"


def test_a_type_without_children_has_none() -> None:
    """The walk along a path ends with an error of ours, not a wrong answer."""
    with pytest.raises(LookupError):
        child_type(inspect.IntType(), "x")
    assert field_names(inspect.IntType()) == []
    assert words(inspect.AnyType()) == "a table"


KEYS = st.sampled_from(
    ["goal", "shapes", "preprocess", "measure", "devices", "model", "resize", "mean", "objective", "rounds", "a b", "x"]
) | st.text(max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.datetimes()
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
    ),
    max_size=5,
)


def sentence(content: bytes | dict[str, Any]) -> str | None:
    """The complaint about it, None when it is a configuration."""
    try:
        if isinstance(content, bytes):
            decode_toml(content, ProjectConfig, source="x")
        else:
            decode(content, ProjectConfig, source="x")
    except ConfigError as error:
        return error.message
    return None


@given(DATA)
def test_any_table_gives_a_config_or_a_sentence(data: dict[str, Any]) -> None:
    """Nothing else leaves the decoder."""
    complaint = sentence(data)
    assert complaint is None or complaint.startswith("x: ")


@given(st.binary(max_size=40) | st.text(alphabet="[]{}=\"'#\n a1.,x-_:\\", max_size=40).map(str.encode))
def test_any_bytes_give_a_config_or_a_sentence(content: bytes) -> None:
    """Nothing else leaves the reader."""
    complaint = sentence(content)
    assert complaint is None or complaint.startswith("x: ")


def test_a_file_is_read_and_bounded(tmp_path: Path) -> None:
    """A file that is not there, or is no configuration for its size, is a sentence too."""
    path = tmp_path / "edgeopt.toml"
    with pytest.raises(ConfigError, match=r"edgeopt\.toml: cannot be read: No such file"):
        read_toml(path, ProjectConfig)
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="mine: is larger than 1,048,576 bytes"):
        read_toml(path, ProjectConfig, source="mine")
    path.write_text("calibration = 3")
    assert read_toml(path, ProjectConfig).calibration == 3
