"""Samples from whatever the user names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.domain.preprocess import Preprocess
from edgeopt.errors import ConfigError, SamplesError
from edgeopt.samples.folders import find_files
from edgeopt.samples.read import load_samples
from edgeopt.samples.record import Samples, select
from edgeopt.samples.user_code import call_function
from tests.builders import make_model

Array = np.ndarray[Any, Any]


def model(**inputs: tuple[Any, ...]) -> ModelInfo:
    """Inputs by name: (dtype, axis, axis ...)."""
    return make_model(
        inputs=tuple(TensorSpec(name=name, dtype=form[0], shape=tuple(form[1:])) for name, form in inputs.items())
    )


PHOTO = model(images=("float32", "N", 3, 8, 8))
PAIR = model(ids=("int64", "N", "T"), mask=("float32", "N", "T"))


def load(spec: str, base: Path, of: ModelInfo = PHOTO, *, limit: int = 100, **options: Any) -> Samples:
    return load_samples(spec, base=base, preprocess=options.pop("preprocess", None), model=of, limit=limit, **options)


def save_image(path: Path, value: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def refused(spec: str, base: Path, of: ModelInfo = PHOTO, **options: Any) -> SamplesError:
    with pytest.raises(SamplesError) as caught:
        load(spec, base, of, **options)
    assert caught.value.hint
    return caught.value


def test_a_folder_of_images_is_read_sorted_and_deep(tmp_path: Path) -> None:
    """Other files, hidden ones and hidden folders are passed over."""
    save_image(tmp_path / "imgs" / "b" / "2.PNG", 51)
    save_image(tmp_path / "imgs" / "a.jpg", 255)
    save_image(tmp_path / "imgs" / ".hidden.png")
    save_image(tmp_path / "imgs" / ".cache" / "x.png")
    (tmp_path / "imgs" / "labels.csv").write_text("a,b")
    said: list[str] = []
    samples = load("imgs/", tmp_path, note=said.append)
    assert [row[0].shape for row in samples.arrays] == [(1, 3, 8, 8)] * 2
    np.testing.assert_allclose([row[0].mean() for row in samples.arrays], [1.0, 0.2], atol=0.01)
    assert samples.names == ("images",)
    assert (samples.source, samples.synthetic) == ("imgs/", False)
    assert said == list(samples.notes)
    assert "scaled to 0..1" in said[0]


def test_samples_are_called_by_their_files(tmp_path: Path) -> None:
    """Whatever is chosen of them, so that the worst can be looked at."""
    save_image(tmp_path / "imgs" / "a.png")
    save_image(tmp_path / "imgs" / "b.png")
    images = load("imgs", tmp_path)
    assert images.items == ("imgs/a.png", "imgs/b.png")
    assert select(images, [1]).items == ("imgs/b.png",)
    row = model(x=("float32", 1, 4))
    np.save(tmp_path / "rows.npy", np.zeros((3, 4), dtype=np.float32))
    assert load("rows.npy", tmp_path, row).items == tuple(f"rows.npy, sample {i}" for i in range(3))
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "a.npy", np.zeros((1, 4), dtype=np.float32))
    assert load("arrays", tmp_path, row).items == ("arrays/a.npy",)


def test_settings_are_followed(tmp_path: Path) -> None:
    """From the [preprocess] table."""
    save_image(tmp_path / "x.png", 10, (30, 20))
    samples = load("x.png", tmp_path, preprocess=Preprocess(resize=9, crop=(8, 8), std=(10,)))
    np.testing.assert_allclose(samples.arrays[0][0], np.ones((1, 3, 8, 8)), rtol=1e-6)


def test_more_files_than_wanted_are_thinned_evenly(tmp_path: Path) -> None:
    """The same ones each time; another seed takes others."""
    for i in range(40):
        np.save(tmp_path / f"{i:02}.npy", np.full((3, 8, 8), i, np.float32))
    chosen = [int(row[0].flat[0]) for row in load(str(tmp_path), tmp_path, limit=10).arrays]
    assert [value // 4 for value in chosen] == list(range(10))
    assert chosen == [int(row[0].flat[0]) for row in load(str(tmp_path), tmp_path, limit=10).arrays]
    assert chosen != [int(row[0].flat[0]) for row in load(str(tmp_path), tmp_path, limit=10, seed=1).arrays]


def test_arrays_are_fed_as_they_are(tmp_path: Path) -> None:
    """A setting that does nothing is said to, and so is a byte fed as a float."""
    for name in ("x", "y"):
        np.save(tmp_path / f"{name}.npy", np.full((1, 3, 8, 8), 200, np.uint8))
    samples = load(".", tmp_path, preprocess=Preprocess())
    assert samples.arrays[0][0].dtype == np.float32
    assert samples.arrays[0][0].max() == 200
    assert any("[preprocess] is for images; .npy files are fed as they are" in note for note in samples.notes)
    assert (
        sum("images: uint8 samples are fed as float32, their values unchanged" in note for note in samples.notes) == 1
    )


def test_several_inputs_come_from_keyed_files(tmp_path: Path) -> None:
    """In the order of the signature, whatever the order in the file."""
    for i in range(2):
        np.savez(tmp_path / f"{i}.npz", mask=np.ones(4 + i, np.float32), ids=np.arange(4 + i, dtype=np.int32))
    samples = load(str(tmp_path), tmp_path, PAIR)
    assert samples.names == ("ids", "mask")
    assert [(row[0].shape, row[0].dtype.name, row[1].shape) for row in samples.arrays] == [
        ((1, 4), "int64", (1, 4)),
        ((1, 5), "int64", (1, 5)),
    ]


def test_a_single_array_needs_no_key(tmp_path: Path) -> None:
    """When there is one input."""
    np.savez(tmp_path / "x.npz", np.zeros((3, 8, 8), np.float32))
    assert load("x.npz", tmp_path).arrays[0][0].shape == (1, 3, 8, 8)


def test_one_file_may_hold_many_samples(tmp_path: Path) -> None:
    """Along the batch axis; that is said."""
    np.save(
        tmp_path / "x.npy", np.arange(20, dtype=np.float32)[:, None, None, None] * np.ones((20, 3, 8, 8), np.float32)
    )
    samples = load("x.npy", tmp_path, limit=5)
    assert [row[0].shape for row in samples.arrays] == [(1, 3, 8, 8)] * 5
    assert "x.npy: read as 20 samples along the first axis" in samples.notes
    assert len(load("x.npy", tmp_path, shapes={"images": (10, 3, 8, 8)})) == 2
    np.savez(tmp_path / "x.npz", ids=np.zeros((6, 4), np.int64), mask=np.zeros((6, 4), np.float32))
    assert [row[1].shape for row in load("x.npz", tmp_path, PAIR).arrays] == [(1, 4)] * 6


def test_one_file_is_one_sample_when_its_first_axis_is_no_batch(tmp_path: Path) -> None:
    """A series; inputs that disagree; an unknown rank; a batch of the wrong size."""
    np.save(tmp_path / "series.npy", np.zeros(50, np.float32))
    assert len(load("series.npy", tmp_path, model(x=("float32", "T")))) == 1
    np.savez(tmp_path / "x.npz", a=np.zeros((6, 4), np.float32), b=np.zeros((2, 4), np.float32))
    assert len(load("x.npz", tmp_path, model(a=("float32", None, 4), b=("float32", None, 4)))) == 1
    np.save(tmp_path / "any.npy", np.zeros((5, 2), np.float32))
    unknown = make_model(inputs=(TensorSpec(name="x", dtype="float32", shape=None),))
    assert load("any.npy", tmp_path, unknown).arrays[0][0].shape == (5, 2)
    assert (
        refused("any.npy", tmp_path, model(x=("float32", 2, 2))).message
        == "any.npy has shape (5, 2), input 'x' takes (2, 2)"
    )


def test_a_wrong_shape_names_the_file(tmp_path: Path) -> None:
    """Relative to the project, as the user knows it."""
    (tmp_path / "samples").mkdir()
    np.save(tmp_path / "samples" / "x.npy", np.zeros((3, 32, 32), np.float32))
    error = refused("samples", tmp_path)
    assert error.message == "samples/x.npy has shape (3, 32, 32), input 'images' takes (N, 3, 8, 8)"
    assert error.code == "samples-mismatch"
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert refused(str(tmp_path / "samples"), other).message.startswith(str(tmp_path / "samples" / "x.npy"))


def test_shapes_of_other_models_are_refused_first(tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match="the model has no such input"):
        load("absent", tmp_path, shapes={"x": (1,)})


@pytest.mark.parametrize(
    "spec", ["absent", "absent/x.npy", "a\0b", "x" * 5000, "~/surely/not/there", "not-a-module:function"]
)
def test_nothing_there_is_missing(tmp_path: Path, spec: str) -> None:
    """And what may be named is said."""
    error = refused(spec, tmp_path)
    assert error.code == "samples-missing"
    assert "no such file or folder" in error.message
    assert "module:function" in str(error.hint)


@pytest.mark.parametrize("content", [{}, {"labels.csv": b"a"}])
def test_a_folder_without_samples_is_empty(tmp_path: Path, content: dict[str, bytes]) -> None:
    """Other files do not count."""
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    error = refused(".", tmp_path)
    assert error.code == "samples-empty"


def test_none_wanted_is_none_found(tmp_path: Path) -> None:
    """A limit of 0 is no reason to crash."""
    save_image(tmp_path / "x.png")
    assert refused(".", tmp_path, limit=0).code == "samples-empty"


def test_two_kinds_in_a_folder_are_a_question(tmp_path: Path) -> None:
    """Neither is guessed."""
    save_image(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", np.zeros(1))
    assert refused(".", tmp_path).message == ".: holds 1 .npy files and 1 images"


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    """With what would do."""
    (tmp_path / "x.txt").write_text("")
    assert refused("x.txt", tmp_path).message == "x.txt: not a file of samples"


@pytest.mark.parametrize("name", ["x.png", "x.npy"])
def test_one_array_cannot_feed_two_inputs(tmp_path: Path, name: str) -> None:
    """The way out is named."""
    if name == "x.png":
        save_image(tmp_path / name)
    else:
        np.save(tmp_path / name, np.zeros(1))
    error = refused(name, tmp_path, PAIR)
    assert "can feed a model with one input; this one has 2: ids, mask" in error.message
    assert ".npz" in str(error.hint)
    assert "has 0: none" in refused(name, tmp_path, model()).message


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.npy", b"", "x.npy: cannot be read as .npy"),
        ("x.npy", b"\x93NUMPY\x01\x00\x00", "x.npy: cannot be read as .npy"),
        ("x.npz", b"PK", "x.npz: cannot be read as .npz"),
        ("x.png", b"", "x.png: cannot be read as an image"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    """With what to do."""
    (tmp_path / name).write_bytes(content)
    error = refused(name, tmp_path)
    assert error.message.startswith(sentence)
    assert error.code == "samples-unreadable"


def test_python_objects_and_cut_arrays_are_not_read(tmp_path: Path) -> None:
    """No pickle, and no allocation on the word of a header."""
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "holds Python objects" in refused("x.npy", tmp_path).message
    np.save(tmp_path / "y.npy", np.zeros((1, 3, 8, 8), np.float32))
    os.truncate(tmp_path / "y.npy", 300)
    assert "is cut off" in refused("y.npy", tmp_path).message


def test_other_keys_than_the_inputs_are_listed(tmp_path: Path) -> None:
    """Both lists."""
    np.savez(tmp_path / "x.npz", a=np.zeros(1), b=np.zeros(1))
    assert refused("x.npz", tmp_path, PAIR).message == "x.npz has the arrays a, b; the model's inputs are ids, mask"
    np.savez(tmp_path / "empty.npz")
    assert "has the arrays nothing" in refused("empty.npz", tmp_path).message


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    """Here because its path is longer than the system takes; the rights of others do not stop root."""
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=place)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    error = refused(".", tmp_path)
    assert "cannot be listed: File name too long" in error.message
    assert error.code == "samples-unreadable"


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    """In a folder, and of arrays in a file."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    with pytest.raises(SamplesError, match="imgs: holds more than 1 files"):
        find_files(tmp_path, "imgs", max_files=1)
    np.savez(tmp_path / "x.npz", *[np.zeros(1)] * 1001)
    assert "holds more than 1,000 arrays" in refused("x.npz", tmp_path).message


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "my_samples.py").write_text(
        "import numpy as np\n"
        "def endless():\n    i = 0\n    while True:\n        yield np.full((3, 8, 8), i, np.float32)\n        i += 1\n"
        "def keyed():\n    return [{'mask': np.ones((1, 3)), 'ids': np.zeros((1, 3), int)}]\n"
        "def unkeyed():\n    return [np.ones(3)]\n"
        "def wrong_key():\n    return [{'x': np.ones(3)}]\n"
        "def empty_dict():\n    return [{}]\n"
        "def nothing():\n    return []\n"
        "def fails():\n    raise RuntimeError('no data today')\n"
        "def late():\n    yield np.zeros((3, 8, 8), 'float32')\n    raise KeyError('x')\n"
        "def number():\n    return 3\n"
        "def ragged():\n    return [[[1], [2, 3]]]\n"
        "def objects():\n    return [np.array([{}], dtype=object)]\n"
        "value = 3\n"
    )
    (tmp_path / "broken_samples.py").write_text("1 / 0\n")
    (tmp_path / "needing_samples.py").write_text("import a_module_that_is_not_there\n")
    return tmp_path


def test_a_function_is_called_and_an_endless_one_cut(project: Path) -> None:
    """At the limit."""
    samples = load("my_samples:endless", project, limit=7)
    assert [int(row[0].flat[0]) for row in samples.arrays] == list(range(7))
    assert samples.source == "my_samples:endless"


def test_a_function_may_name_its_arrays(project: Path) -> None:
    """In any order."""
    samples = load("my_samples:keyed", project, PAIR)
    assert [array.dtype.name for array in samples.arrays[0]] == ["int64", "float32"]


@pytest.mark.parametrize(
    ("spec", "of", "code", "sentence"),
    [
        (
            "my_samples:unkeyed",
            PAIR,
            "samples-mismatch",
            "sample 0: found an array without a name; the model's inputs are ids, mask",
        ),
        ("my_samples:wrong_key", PAIR, "samples-mismatch", "sample 0: found x; the model's inputs are ids, mask"),
        ("my_samples:empty_dict", PHOTO, "samples-mismatch", "sample 0: found nothing; the model's inputs are images"),
        (
            "my_samples:unkeyed",
            PHOTO,
            "samples-mismatch",
            "my_samples:unkeyed, sample 0 has shape (3,), input 'images' takes (N, 3, 8, 8)",
        ),
        ("my_samples:nothing", PHOTO, "samples-empty", "my_samples:nothing: holds no samples"),
        ("my_samples:fails", PHOTO, "samples-unreadable", "my_samples:fails: failed: RuntimeError: no data today"),
        ("my_samples:late", PHOTO, "samples-unreadable", "my_samples:late: failed: KeyError: 'x'"),
        ("my_samples:number", PHOTO, "samples-unreadable", "my_samples:number: failed: TypeError"),
        ("my_samples:ragged", PHOTO, "samples-mismatch", "my_samples:ragged, sample 0: not an array"),
        ("my_samples:objects", PHOTO, "samples-mismatch", "my_samples:objects, sample 0: an array of Python objects"),
        ("my_samples:value", PHOTO, "samples-missing", "my_samples:value: my_samples has no function value"),
        ("my_samples:absent", PHOTO, "samples-missing", "my_samples has no function absent"),
        ("absent_samples:x", PHOTO, "samples-missing", "absent_samples:x: there is no module absent_samples in"),
        ("absent_samples.deep:x", PHOTO, "samples-missing", "there is no module absent_samples.deep in"),
        ("broken_samples:x", PHOTO, "samples-unreadable", "broken_samples cannot be imported: ZeroDivisionError"),
        (
            "needing_samples:x",
            PHOTO,
            "samples-unreadable",
            "needing_samples needs the module a_module_that_is_not_there",
        ),
    ],
)
def test_what_is_wrong_with_a_function_is_a_sentence(
    project: Path, spec: str, of: ModelInfo, code: str, sentence: str
) -> None:
    """The user's own code fails with its own words."""
    error = refused(spec, project, of)
    assert (error.code, sentence in error.message) == (code, True), error.message


def test_text_of_another_form_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    """`load_samples` asks first."""
    with pytest.raises(ValueError, match="is not module:function"):
        call_function("x", base=tmp_path, names=["x"], limit=1)


def test_two_projects_may_have_modules_of_one_name(tmp_path: Path) -> None:
    """Each gets its own; and the path of imports is as before."""
    import sys

    before = list(sys.path)
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "twin_samples.py").write_text(
            f"import numpy as np\ndef f():\n    return [np.full((3, 8, 8), {value}, np.float32)]\n"
        )
        assert load("twin_samples:f", folder).arrays[0][0].flat[0] == value
    assert sys.path == before
