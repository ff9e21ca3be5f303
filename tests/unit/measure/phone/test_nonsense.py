"""A phone, or what pretends to be one, that answers anything at all: the session ends each request with an answer or an error of ours, and never waits for ever."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeopt.domain.device import Device
from edgeopt.domain.model import TensorSpec
from edgeopt.errors import EdgeoptError
from edgeopt.measure.phone.answers import write_rows
from edgeopt.measure.phone.blocks import ToolThere
from edgeopt.measure.phone.session import PhoneSession
from edgeopt.measure.phone.tools import TOOLS, Tool
from edgeopt.measure.rounds import block_from_reply
from edgeopt.measure.session import Owner
from edgeopt.transport.link import Completed, Progress

DIGEST = "a" * 64
FILES = [{"path": "benchmark_model", "digest": DIGEST, "bytes": 3}]
MANIFEST = json.dumps(
    {
        "files": FILES,
        "model": "benchmark_model",
        "probe": {"inputs": "benchmark_model", "outputs": None, "rtol": 0, "atol": 0},
        "setting": {},
    }
)
_MARK = re.compile(r"[0-9a-f]{32}")

HEADS = st.sampled_from(
    [
        *(
            "app app releases/" + DIGEST + " -",
            "app app - -",
            "app",
            "state app",
            f"release app {DIGEST}",
            "release app",
            "runtime key",
            "runtime",
            "blobs 12",
            "blobs ²",
            "blobs",
            "holder",
        ),
        *(
            "=getprop",
            "=battery",
            "=thermal",
            "=uname",
            "=df",
            "=folder",
            "=nproc",
            "=page",
            "=date",
            "=lacks",
            "/proc/stat",
            "/proc/cpuinfo",
            "/proc/mounts",
            "/proc/meminfo",
            "/proc/uptime",
        ),
        *("said", "exit 0", "exit ٣", "exit", "exit 139", "times", "result"),
    ]
)
BODIES = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            *(
                "",
                MANIFEST,
                '{"history": [{"digest": 1}]}',
                "[[[[",
                '{"version": "x", "files": ' + json.dumps(FILES) + "}",
                "processor\t: 0\nCPU part\t: 0xd05",
            ),
            *(
                "count=1 curr=5\ncount=9 first=1 curr=1 min=1 max=1 avg=1 std=0\nInference timings in us: Init: 1, First inference: 1, Warmup (avg): 1, Inference (avg): 1",
                "0.001,5\n0.002,5",
                "input_layer_shape output_filepath",
            ),
        ]
    ),
)
LINES = st.sampled_from(
    [
        f"{DIGEST} whole",
        f"{DIGEST} none",
        f"{DIGEST} ²",
        f"{DIGEST} 12",
        "done",
        "missing",
        "size 4",
        "hash",
        "bad benchmark_model",
        "input_layer_shape",
        "",
    ]
)
ANSWERS = (
    st.lists(st.tuples(HEADS, BODIES), max_size=8).map(
        lambda parts: "".join(f"\n<M> {head}\n{body}" for head, body in parts) + "\n<M> end\n\n<M> =end\n"
    )
    | st.lists(LINES, max_size=3).map("\n".join)
    | st.text(max_size=40)
)


class Liar:
    """A link whose phone says what it was told to say, in turn; `<M>` stands for the mark of the question."""

    def __init__(self, answers: Sequence[str], codes: Sequence[int]) -> None:
        self._answers, self._codes, self._turn = answers, codes, 0

    def _next(self, argv: Sequence[str]) -> tuple[int, bytes]:
        self._turn += 1
        marks = [word for word in argv if _MARK.fullmatch(word)]
        text = self._answers[self._turn % len(self._answers)].replace("<M>", marks[0] if marks else "")
        return self._codes[self._turn % len(self._codes)], text.encode("utf-8", "surrogatepass")

    def run(self, argv: Sequence[str], stdin: bytes = b"", deadline_s: float = 30.0) -> Completed:
        code, said = self._next(argv)
        return Completed(exit_code=code, stdout=said, stderr=b"No space left on device" if code == 2 else b"")

    def start(self, argv: Sequence[str]) -> Any:
        return Talk(self._next(argv)[1])

    def put(self, local: Path, remote: str, *, offset: int = 0, progress: Progress | None = None) -> int:
        return local.stat().st_size

    def get(self, remote: str, local: Path, *, max_bytes: int, progress: Progress | None = None) -> int:
        if remote.endswith(".npz"):
            return write_rows([(np.zeros((1, 2), np.float32),)] * 2, local)[1]
        return local.write_bytes(self._next([remote])[1][:max_bytes])

    def close(self) -> None:
        pass


class Talk:
    """A started command that says one thing and ends."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def read(self, limit: int, timeout_s: float) -> bytes:
        said, self._said = self._said[:limit], b""
        return said

    def stderr_tail(self) -> bytes:
        return b""

    def exit_code(self, timeout_s: float) -> int:
        return 1

    def close(self) -> None:
        pass


JOB = {
    "model": "/r/staged/d/m",
    "inputs": "/r/staged/e/inputs.npz",
    "timeout_s": 1.0,
    "min_s": 0.1,
    "max_s": 1.0,
    "min_inferences": 1,
    "warmup_min_s": 0.0,
    "warmup_min_inferences": 1,
    "scenario": {"name": "single-stream"},
    "cool_down": {"max_s": 0.0},
    "limit_samples": 2,
    "setting": {"provider": "XNNPACK", "threads": 0},
}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("probe", {}),
    ("have", {"digests": [DIGEST]}),
    ("commit", {"digest": DIGEST, "bytes": 3}),
    ("stage", {"digest": DIGEST, "files": FILES}),
    ("runtime", {"version": "x", "files": FILES}),
    ("status", {}),
    ("sample", {}),
    ("block", JOB | {"mode": "time", "runtime": "litert"}),
    ("block", JOB | {"mode": "outputs", "runtime": "onnxruntime"}),
    ("activate", {"app": "app", "digest": DIGEST}),
    ("rollback", {"app": "app"}),
    ("install", {"app": "app", "digest": DIGEST, "manifest": json.loads(MANIFEST)}),
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    answers=st.lists(ANSWERS, min_size=1, max_size=4),
    codes=st.lists(st.sampled_from([0, 0, 0, 1, 2, 127]), min_size=1, max_size=3),
)
def test_whatever_a_phone_answers_is_an_answer_or_an_error(answers: list[str], codes: list[int]) -> None:
    device = Device(name="phone", profile="android-arm64", address="adb://SERIAL", root="/r")
    session = PhoneSession(device, lambda: Liar(answers, codes))
    with session:
        session._holder = Talk(b"")  # type: ignore[assignment]
        for verb, args in CALLS:
            try:
                json.dumps(session.call(verb, args))
            except EdgeoptError as error:
                assert error.message.isprintable()  # noqa: PT017


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(said=st.sampled_from(["\n<M> held\n", "\n<M> busy\n{", '\n<M> busy\n{"owner": {"host": "a"}}', "no", ""]))
def test_whatever_the_lock_says_is_had_or_refused(said: str) -> None:
    device = Device(name="phone", profile="android-arm64", address="adb://SERIAL", root="/r")
    with PhoneSession(device, lambda: Liar([said], [0])) as session:
        session.nameless_s = 0.0
        try:
            session.lock("test", Owner(host="elsewhere", pid=1, user="u", run="r"))
        except EdgeoptError as error:
            assert "held" not in said, error  # noqa: PT017


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    answers=st.lists(ANSWERS, min_size=1, max_size=4),
    codes=st.lists(st.sampled_from([0, 0, 0, 1]), min_size=1, max_size=2),
    mode=st.sampled_from(["time", "outputs"]),
    tool=st.sampled_from(TOOLS),
)
def test_whatever_a_program_does_is_a_block_or_an_error(
    answers: list[str], codes: list[int], mode: str, tool: Tool
) -> None:
    device = Device(name="phone", profile="android-arm64", address="adb://SERIAL", root="/r")
    there = ToolThere(tool=tool, program="/r/p", folder="/r", version="v", key="k", answers=tool.runtime == "litert")
    with PhoneSession(device, lambda: Liar(answers, codes)) as session:
        session._holder = Talk(b"")  # type: ignore[assignment]
        session._tools = {tool.runtime: there}
        session._facts = {"cpu": {"usable_cores": 4}}
        spec = TensorSpec(name="x", dtype="float32", shape=(1, 2))
        try:
            session.describe((spec,), (spec,))
            reply = session.call("block", JOB | {"mode": mode, "runtime": tool.runtime})
        except EdgeoptError as error:
            assert error.message.isprintable()  # noqa: PT017
        else:
            assert reply["status"] in ("ok", "failed")
            if mode == "time":
                block_from_reply(reply, candidate="c", number=0, position=0)
