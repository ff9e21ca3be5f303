"""Blocks with ONNX Runtime itself: what is timed, what comes out, what is compared. Runs where the agent's interpreter has onnxruntime."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agent import models
from tests.agent.client import Client
from tests.agent.test_block import SETTING, failure, staged, time_job


@pytest.fixture(autouse=True)
def _needs_runtime(python: str) -> None:
    if subprocess.run([python, "-I", "-c", "import onnxruntime"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no onnxruntime")


def put(
    client: Client, tmp_path: Path, model: bytes, inputs: dict[str, Any], **others: dict[str, Any]
) -> dict[str, str]:
    files = {name: models.npz(arrays, tmp_path) for name, arrays in {"inputs": inputs, **others}.items()}
    return staged(client, model=model, **files)


class TestTime:
    def test_every_number_is_there(self, locked: Client, tmp_path: Path) -> None:
        result = locked.call("block", **time_job(put(locked, tmp_path, models.DOUBLE, models.samples())))
        assert result["status"] == "ok"
        assert len(result["latencies_ns"]) >= 5
        assert len(result["warmup_ns"]) >= 2
        assert min(result["load_ns"], result["first_ns"], *result["latencies_ns"]) > 0
        assert result["peak_rss_bytes"] >= result["runtime_rss_bytes"] > 10 << 20
        assert result["provider_used"] == "CPUExecutionProvider"
        there = [item["version"] for item in locked.call("probe")["runtimes"] if item["name"] == "onnxruntime"]
        assert result["runtime_version"] == there[-1]
        assert result["wall_ns"] > sum(result["latencies_ns"])
        assert [event["phase"] for event in locked.events[:5]] == ["import", "load", "first", "warmup", "timed"]

    def test_a_long_series_is_thinned_and_says_so(self, locked: Client, tmp_path: Path) -> None:
        paths = put(locked, tmp_path, models.DOUBLE, models.samples())
        result = locked.call("block", **time_job(paths, min_inferences=45_000, max_s=60, warmup_min_inferences=3000))
        assert len(result["latencies_ns"]) == 20_000
        assert result["thinned_from"] >= 22_500  # warm-up may take up to half
        assert len(result["warmup_ns"]) == 2000

    def test_the_maximum_time_ends_a_block(self, locked: Client, tmp_path: Path) -> None:
        paths = put(locked, tmp_path, models.DOUBLE, models.samples())
        result = locked.call("block", **time_job(paths, min_inferences=1_000_000, max_s=0.05))
        assert 0 < result.get("thinned_from", len(result["latencies_ns"])) < 1_000_000

    def test_several_inputs_are_fed_in_the_order_of_the_signature(self, locked: Client, tmp_path: Path) -> None:
        assert (
            locked.call("block", **time_job(put(locked, tmp_path, models.TWO_INPUTS, models.samples(3, 2))))["status"]
            == "ok"
        )

    def test_an_output_that_is_not_a_number_is_a_failure(self, locked: Client, tmp_path: Path) -> None:
        kind, _, detail = failure(locked.call("block", **time_job(put(locked, tmp_path, models.NAN, models.samples()))))
        assert (kind, detail) == ("bad-output", "4 of 4 values of output y are NaN or infinite")

    def test_a_provider_that_is_not_there_is_flagged(self, locked: Client, tmp_path: Path) -> None:
        paths = put(locked, tmp_path, models.DOUBLE, models.samples())
        result = locked.call("block", **time_job(paths, setting={**SETTING, "provider": "CUDAExecutionProvider"}))
        assert result["provider_used"] == "CPUExecutionProvider"
        assert "provider-fallback" in result["flags"]

    def test_a_runtime_takes_every_option_that_a_setting_has(self, locked: Client, tmp_path: Path) -> None:
        paths = put(locked, tmp_path, models.DOUBLE, models.samples())
        setting = {**SETTING, "affinity": sorted(os.sched_getaffinity(0)), "spinning": False, "arena": False}
        assert locked.call("block", **time_job(paths, setting=setting))["status"] == "ok"

    @pytest.mark.parametrize("model", [b"", b"not a model", models.DOUBLE[:40]])
    def test_what_is_no_model_is_a_failure_while_loading(self, locked: Client, tmp_path: Path, model: bytes) -> None:
        kind, phase, _ = failure(locked.call("block", **time_job(put(locked, tmp_path, model, models.samples()))))
        assert (kind, phase) == ("error", "load")

    @pytest.mark.parametrize(
        "inputs",
        [models.samples(2, 2), {"s1.0": np.zeros((1, 4))}, {"x": np.zeros((1, 4))}, {}],
        ids=["too-many", "gap", "names", "none"],
    )
    def test_samples_that_do_not_fit_the_model_are_named(
        self, locked: Client, tmp_path: Path, inputs: dict[str, Any]
    ) -> None:
        kind, _, detail = failure(locked.call("block", **time_job(put(locked, tmp_path, models.DOUBLE, inputs))))
        assert kind == "error"
        assert "does not hold 1 tensors for each sample: x" in detail

    def test_pickled_samples_are_never_opened(self, locked: Client, tmp_path: Path) -> None:
        evil = np.array([{"a": 1}], dtype=object)
        kind, _, detail = failure(
            locked.call("block", **time_job(put(locked, tmp_path, models.DOUBLE, {"s0.0": evil})))
        )
        assert kind == "error"
        assert "allow_pickle" in detail


class TestOutputs:
    def job(self, paths: dict[str, str], **changes: Any) -> dict[str, Any]:
        limits = {"limit_samples": 64, "limit_bytes": 1 << 20}
        return {
            "mode": "outputs",
            "runtime": "onnxruntime",
            "site": None,
            "setting": SETTING,
            "timeout_s": 60,
            **limits,
            **paths,
            **changes,
        }

    def test_they_come_as_a_file_in_the_order_of_the_signature(self, locked: Client, tmp_path: Path) -> None:
        inputs = models.samples(3, 2)
        result = locked.call("block", **self.job(put(locked, tmp_path, models.TWO_INPUTS, inputs)))
        data = Path(result["file"]["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (result["file"]["bytes"], result["file"]["sha256"])
        with np.load(result["file"]["path"], allow_pickle=False) as found:
            for number in range(3):
                np.testing.assert_array_equal(found[f"s{number}.0"], inputs[f"s{number}.0"] + inputs[f"s{number}.1"])
                np.testing.assert_array_equal(found[f"s{number}.1"], inputs[f"s{number}.0"] - inputs[f"s{number}.1"])
        assert result["samples"] == 3

    def test_every_node_is_placed_and_the_profile_is_not_left_behind(self, locked: Client, tmp_path: Path) -> None:
        result = locked.call("block", **self.job(put(locked, tmp_path, models.TWO_INPUTS, models.samples(3, 2))))
        assert result["placement"] == {"CPUExecutionProvider": {"Add": 1, "Sub": 1}}
        assert [path.name for path in Path(result["file"]["path"]).parent.iterdir()] == [
            Path(result["file"]["path"]).name
        ]

    @pytest.mark.parametrize(
        ("limits", "samples"), [({"limit_samples": 2}, 2), ({"limit_bytes": 16 * 4}, 4), ({"limit_bytes": 0}, 0)]
    )
    def test_limits_are_kept(self, locked: Client, tmp_path: Path, limits: dict[str, int], samples: int) -> None:
        paths = put(locked, tmp_path, models.DOUBLE, models.samples(5))
        assert locked.call("block", **self.job(paths, **limits))["samples"] == samples

    def test_texts_come_without_pickle(self, locked: Client, tmp_path: Path) -> None:
        result = locked.call(
            "block", **self.job(put(locked, tmp_path, models.text_model(), {"s0.0": np.array(["grün"])}))
        )
        with np.load(result["file"]["path"], allow_pickle=False) as found:
            assert found["s0.0"].tolist() == ["grün"]

    def test_what_is_no_tensor_is_named(self, locked: Client, tmp_path: Path) -> None:
        kind, phase, detail = failure(
            locked.call("block", **self.job(put(locked, tmp_path, models.sequence_model(), models.samples(1))))
        )
        assert (kind, phase) == ("error", "outputs")
        assert "an output is a list, not a tensor" in detail

    def test_they_are_gone_with_the_session(self, locked: Client, tmp_path: Path) -> None:
        result = locked.call("block", **self.job(put(locked, tmp_path, models.DOUBLE, models.samples())))
        locked.close()
        assert not Path(result["file"]["path"]).exists()


class TestCheck:
    def job(self, paths: dict[str, str], **changes: Any) -> dict[str, Any]:
        base = {
            "mode": "check",
            "runtime": "onnxruntime",
            "site": None,
            "setting": SETTING,
            "timeout_s": 60,
            "rtol": 0,
            "atol": 1e-6,
        }
        return {**base, **paths, **changes}

    def expected(self, inputs: dict[str, Any], change: float = 0.0) -> dict[str, Any]:
        return {name: 2 * array + np.float32(change) for name, array in inputs.items()}

    def test_equal_outputs_are_ok(self, locked: Client, tmp_path: Path) -> None:
        inputs = models.samples()
        result = locked.call(
            "block", **self.job(put(locked, tmp_path, models.DOUBLE, inputs, expected=self.expected(inputs)))
        )
        assert (result["status"], result["ok"], result["max_abs_error"], result["samples"]) == ("ok", True, 0.0, 2)

    def test_other_outputs_are_not_and_say_by_how_much(self, locked: Client, tmp_path: Path) -> None:
        inputs = models.samples()
        result = locked.call(
            "block", **self.job(put(locked, tmp_path, models.DOUBLE, inputs, expected=self.expected(inputs, 0.5)))
        )
        assert not result["ok"]
        assert result["max_abs_error"] == pytest.approx(0.5, rel=1e-5)
        assert result["detail"].startswith("sample 0, output y: 4 of 4 values are off, by up to 0.5")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda a: a[:, :2], "shape [1, 4] instead of [1, 2]"),
            (lambda a: a.astype(np.float64), "dtype float32 instead of float64"),
        ],
    )
    def test_another_shape_or_dtype_is_named(self, locked: Client, tmp_path: Path, change: Any, words: str) -> None:
        inputs = models.samples(1)
        expected = {name: change(array) for name, array in self.expected(inputs).items()}
        result = locked.call("block", **self.job(put(locked, tmp_path, models.DOUBLE, inputs, expected=expected)))
        assert (result["ok"], result["max_abs_error"]) == (False, None)
        assert words in result["detail"]

    def test_texts_are_compared_as_texts(self, locked: Client, tmp_path: Path) -> None:
        inputs = {"s0.0": np.array(["a"])}
        paths = put(locked, tmp_path, models.text_model(), inputs, expected=inputs)
        assert locked.call("block", **self.job(paths))["ok"]
        paths = put(locked, tmp_path, models.text_model(), inputs, expected={"s0.0": np.array(["b"])})
        assert locked.call("block", **self.job(paths))["detail"] == "sample 0, output y: texts differ"

    def test_not_a_number_is_never_ok(self, locked: Client, tmp_path: Path) -> None:
        inputs = models.samples(1)
        expected = {"s0.0": np.full((1, 4), np.nan, dtype=np.float32)}
        result = locked.call("block", **self.job(put(locked, tmp_path, models.NAN, inputs, expected=expected)))
        assert (result["ok"], result["max_abs_error"]) == (False, None)

    def test_another_number_of_samples_is_a_failure(self, locked: Client, tmp_path: Path) -> None:
        paths = put(locked, tmp_path, models.DOUBLE, models.samples(2), expected=self.expected(models.samples(1)))
        assert failure(locked.call("block", **self.job(paths)))[0] == "error"
