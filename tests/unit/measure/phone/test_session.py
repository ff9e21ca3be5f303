"""A conversation with a phone of the tests' own, by the real adb client: the verbs, and what is left when it is cut off anywhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.domain.device import Device
from edgeopt.domain.model import TensorSpec
from edgeopt.domain.observer import Silent
from edgeopt.errors import AgentError, DeviceBusy, DeviceError, HealthCheckFailed, NotInstalled, RuntimeMissing
from edgeopt.measure.install import canonical_json
from edgeopt.measure.phone.answers import read_rows
from edgeopt.measure.phone.session import PhoneSession
from edgeopt.measure.session import Owner
from edgeopt.measure.ship import Content, ship
from edgeopt.samples.record import make_samples, write_npz
from edgeopt.store.blobs import file_digest
from edgeopt.transport.open import open_link
from tests import models
from tests.fakes.adbd import Phone, adb_server, start_phone
from tests.fakes.phone_programs import equip, write_program, write_script

INPUTS = (TensorSpec(name="x", dtype="float32", shape=(1, 3, 8, 8)),)
OUTPUTS = (TensorSpec(name="scores", dtype="float32", shape=(1, 5)),)

pytestmark = pytest.mark.xdist_group("adb session")

SETTING = {
    "runtime": "onnxruntime",
    "provider": "CPUExecutionProvider",
    "threads": 0,
    "affinity": [],
    "spinning": None,
    "arena": None,
}


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with adb_server(tmp_path_factory.mktemp("adb")) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Phone]:
    made = start_phone(tmp_path / "phone")
    equip(made)
    yield made
    made.stop()


def session_of(phone: Phone, **options: Any) -> PhoneSession:
    device = Device(name="phone", profile="android-arm64", address=phone.address, root=phone.root)
    return PhoneSession(
        device,
        lambda: open_link(phone.address, known_hosts=Path("/nowhere"), name="phone", stall_timeout_s=5.0),
        **options,
    )


@pytest.fixture
def session(phone: Phone) -> Iterator[PhoneSession]:
    with session_of(phone) as opened:
        opened.lock("test", Owner.this_process("a-run"))
        yield opened


def content(path: Path) -> Content:
    return Content(digest=file_digest(path), bytes=path.stat().st_size, path=path, label=path.name)


def bring(session: PhoneSession, *programs: Path) -> None:
    contents = [content(path) for path in programs]
    ship(session, contents, Silent())
    files = [{"path": c.label, "digest": c.digest, "bytes": c.bytes} for c in contents]
    session.call("runtime", {"name": "command", "version": "given", "files": files})


class Shipped:
    """A model and its inputs on the phone, ready for blocks and releases."""

    def __init__(self, session: PhoneSession, folder: Path, model: bytes, name: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(model)
        generator = np.random.default_rng(0)
        rows = [[generator.standard_normal((1, 3, 8, 8)).astype(np.float32)] for _ in range(3)]
        self.rows = rows
        write_npz(make_samples(["x"], rows, source="made"), folder / "inputs.npz")
        self.model, self.inputs = content(folder / name), content(folder / "inputs.npz")
        ship(session, [self.model, self.inputs], Silent())
        self.where = session.call("stage", {"digest": self.model.digest, "files": [self.file(self.model)]})["folder"]
        self.fed = session.call("stage", {"digest": self.inputs.digest, "files": [self.file(self.inputs)]})["folder"]

    @staticmethod
    def file(item: Content) -> dict[str, Any]:
        return {"path": item.label, "digest": item.digest, "bytes": item.bytes}

    def job(self, mode: str, **changes: Any) -> dict[str, Any]:
        job = {
            "mode": mode,
            "runtime": "onnxruntime",
            "model": f"{self.where}/{self.model.label}",
            "inputs": f"{self.fed}/inputs.npz",
            "setting": SETTING,
            "timeout_s": 20.0,
            "min_s": 0.01,
            "max_s": 5.0,
            "min_inferences": 5,
            "warmup_min_s": 0.0,
            "warmup_min_inferences": 1,
            "scenario": {"name": "single-stream"},
            "cool_down": {"max_s": 0},
            "limit_samples": 64,
        }
        return job | changes

    def manifest(self, version: str, **changes: Any) -> tuple[dict[str, Any], str]:
        made = {
            "schema": 1,
            "app": "app",
            "variant": "clean",
            "model": self.model.label,
            "setting": SETTING,
            "runtime_version": version,
            "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 8, 8]}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 5]}],
            "files": [self.file(self.model), self.file(self.inputs)],
            "probe": {"inputs": "inputs.npz", "outputs": None, "rtol": 0.0, "atol": 0.0},
        } | changes
        return made, hashlib.sha256(canonical_json(made)).hexdigest()


@pytest.fixture
def shipped(session: PhoneSession, tmp_path: Path) -> Shipped:
    bring(session, write_script(tmp_path / "bin"))
    return Shipped(session, tmp_path / "work", models.classifier().SerializeToString(), "model.onnx")


def version_of(session: PhoneSession, runtime: str = "onnxruntime") -> str:
    found = session.call("probe", {})["runtimes"]
    return str(next(item["version"] for item in found if item["name"] == runtime))


def install(session: PhoneSession, made: tuple[dict[str, Any], str]) -> dict[str, Any]:
    manifest, digest = made
    session.call("install", {"app": "app", "manifest": manifest, "digest": digest})
    return session.call("activate", {"app": "app", "digest": digest, "timeout_s": 30.0})


# --- the lock ----------------------------------------------------------------------------------------------------------


def test_the_second_session_is_told_who_has_the_phone(phone: Phone, session: PhoneSession) -> None:
    other = Owner(host="elsewhere", pid=1, user="somebody", run="r")
    with session_of(phone) as second, pytest.raises(DeviceBusy, match=r"phone is in use by .* for `test`"):
        second.lock("bench", other)


def test_a_lock_goes_with_its_session(phone: Phone) -> None:
    for _ in range(2):
        with session_of(phone) as opened:
            opened.lock("test", Owner.this_process("a-run"))
            assert opened.call("status", {})["lock"]["purpose"] == "test"
    with session_of(phone) as opened:
        assert opened.call("status", {})["lock"] is None


def test_a_lock_goes_with_the_cable_and_is_taken_again(phone: Phone, session: PhoneSession) -> None:
    phone.pull_cable()
    phone.start()
    session.reopen()
    assert session.call("status", {})["lock"]["purpose"] == "test"


def test_what_changes_the_phone_needs_the_lock(phone: Phone) -> None:
    with session_of(phone) as opened, pytest.raises(AgentError, match="needs the lock") as caught:
        opened.call("install", {})
    assert caught.value.code == "not-locked"


def test_a_verb_that_there_is_not_is_refused(session: PhoneSession) -> None:
    for verb in ("hello", "collect", "open", "remove", "tools_there"):
        with pytest.raises(AgentError, match="does not answer"):
            session.call(verb, {})


# --- content -----------------------------------------------------------------------------------------------------------


def test_content_is_sent_once_and_goes_on_where_it_was_cut(phone: Phone, session: PhoneSession, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(6 << 20))
    phone.replugs = True
    phone.cut_after_bytes = 3 << 20
    done = ship(session, [content(tmp_path / "big")], Silent())
    assert done.reconnects > 0
    assert done.resumed_bytes > 1 << 20
    assert done.sent_bytes + done.resumed_bytes == 6 << 20
    again = ship(session, [content(tmp_path / "big")], Silent())
    assert (again.sent_bytes, again.already_there_bytes) == (0, 6 << 20)


def test_content_that_the_storage_damaged_is_missing(phone: Phone, session: PhoneSession, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    ship(session, [made := content(tmp_path / "a")], Silent())
    (Path(phone.root) / "blobs" / made.digest).write_bytes(b"damaged")
    assert session.call("have", {"digests": [made.digest]})["missing"] == [made.digest]


@pytest.mark.parametrize("verb", ["commit", "stage"])
def test_content_that_never_came_is_missing(session: PhoneSession, verb: str) -> None:
    absent = "0" * 64
    args = {"digest": absent, "bytes": 3, "files": [{"path": "a", "digest": absent, "bytes": 3}]}
    with pytest.raises(AgentError) as caught:
        session.call(verb, args)
    assert caught.value.code == "missing-blob"


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a b", "$(id)", ".hidden", "a//b"])
def test_names_that_are_not_plain_reach_no_shell(session: PhoneSession, path: str) -> None:
    with pytest.raises(AgentError) as caught:
        session.call("stage", {"digest": "0" * 64, "files": [{"path": path, "digest": "0" * 64, "bytes": 3}]})
    assert caught.value.code == "bad-request"


def test_a_folder_that_cannot_be_written_is_named(phone: Phone, session: PhoneSession) -> None:
    (Path(phone.root) / "incoming").write_text("a file where a folder should be")
    with pytest.raises(DeviceError, match="phone: "):
        session.call("have", {"digests": ["0" * 64]})


# --- blocks ------------------------------------------------------------------------------------------------------------


def test_a_block_has_the_programs_figures_and_the_phones_conditions(session: PhoneSession, shipped: Shipped) -> None:
    reply = session.call("block", shipped.job("time"))
    assert reply["status"] == "ok"
    assert len(reply["warmup_ns"]) + len(reply["latencies_ns"]) == 60
    assert (reply["load_ns"], reply["first_ns"], reply["peak_rss_bytes"]) == (10_200_000, 2_000_000, 40_960_000)
    for when in ("conditions_before", "conditions_after"):
        assert reply[when]["temperature_c"] == {"VIRTUAL-SKIN": 31.25, "BIG": 42.5}
        assert reply[when]["cpu_total_ticks"] > 0
    assert reply["conditions_after"]["monotonic_ns"] >= reply["conditions_before"]["monotonic_ns"]
    assert reply["runtime_version"] == version_of(session)


def test_a_phone_that_holds_itself_back_is_throttled(phone: Phone, session: PhoneSession, shipped: Shipped) -> None:
    equip(phone, thermal_status=2)
    assert "throttled" in session.call("block", shipped.job("time"))["flags"]


def test_answers_that_nobody_tells_are_unchecked_and_the_network_ran(session: PhoneSession, shipped: Shipped) -> None:
    reply = session.call("block", shipped.job("outputs"))
    assert reply["status"] == "ok"
    assert "onnxruntime_perf_test does not give the network's answers" in reply["unchecked"]


@pytest.mark.parametrize(
    ("does", "kind", "words"),
    [
        ("kill -SEGV $$", "signal", "SIGSEGV"),
        ("echo cannot open shared library; exit 1", "error", "cannot open shared library"),
        ("exit 0", "error", "without its figures"),
        ("sleep 60", "timeout", "no end within 1 s"),
    ],
)
def test_a_program_that_fails_is_a_block_with_a_failure(
    session: PhoneSession, shipped: Shipped, tmp_path: Path, does: str, kind: str, words: str
) -> None:
    bring(session, write_script(tmp_path / "broken", does=does))
    reply = session.call("block", shipped.job("time", timeout_s=1.0))
    assert reply["status"] == "failed"
    assert reply["failure"]["kind"] == kind
    assert words in reply["failure"]["detail"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "energy"}, "cannot be run as `energy`"),
        ({"mode": "sustained"}, "cannot be run as `sustained`"),
        ({"scenario": {"name": "offline"}}, "no other scenario"),
        ({"runtime": "ncnn"}, "no program of ncnn"),
    ],
)
def test_what_a_phone_cannot_do_is_a_failure_with_its_reason(
    session: PhoneSession, shipped: Shipped, changes: dict[str, Any], words: str
) -> None:
    reply = session.call("block", shipped.job("time") | changes)
    assert words in reply["failure"]["detail"]


def test_a_program_for_another_cpu_is_no_runtime(session: PhoneSession, tmp_path: Path) -> None:
    program = tmp_path / "onnxruntime_perf_test"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200))
    bring(session, program)
    facts = session.call("probe", {})
    assert facts["runtimes"] == []
    assert "does not start on this phone" in facts["runtimes_reason"]["onnxruntime"]


def test_inputs_lie_where_onnxruntime_perf_test_looks_for_them(
    session: PhoneSession, shipped: Shipped, tmp_path: Path
) -> None:
    """The stand-in reads them as the real one does, and runs the network."""
    bring(session, write_program(tmp_path / "real", "onnxruntime_perf_test"))
    session.describe(INPUTS, OUTPUTS)
    reply = session.call("block", shipped.job("time", min_inferences=3, timeout_s=120.0))
    assert reply["status"] == "ok", reply
    assert min(reply["latencies_ns"]) > 0


# --- releases ----------------------------------------------------------------------------------------------------------


def current(phone: Phone) -> str | None:
    link = Path(phone.root) / "apps/app/current"
    return link.readlink().name if link.is_symlink() else None


def test_a_release_is_installed_and_rolled_back(phone: Phone, session: PhoneSession, shipped: Shipped) -> None:
    version = version_of(session)
    first, second = shipped.manifest(version), shipped.manifest(version, variant="int8")
    assert install(session, first)["previous"] is None
    assert install(session, second)["previous"] == first[1]
    assert current(phone) == second[1]
    assert session.call("rollback", {"app": "app", "timeout_s": 30.0})["current"] == first[1]
    assert session.call("rollback", {"app": "app", "timeout_s": 30.0})["current"] == second[1]
    app = session.call("status", {})["apps"][0]
    assert (app["current"], app["previous"], app["healthy_files"]) == (second[1], first[1], True)
    assert {r["variant"] for r in app["releases"]} == {"clean", "int8"}


def test_nothing_to_go_back_to_is_said(session: PhoneSession, shipped: Shipped) -> None:
    with pytest.raises(NotInstalled) as caught:
        session.call("rollback", {"app": "app"})
    assert caught.value.code == "not-installed"
    install(session, shipped.manifest(version_of(session)))
    with pytest.raises(NotInstalled) as caught:
        session.call("rollback", {"app": "app"})
    assert caught.value.code == "no-previous"


def test_a_release_whose_file_changed_is_not_switched_to_and_is_repaired(
    phone: Phone, session: PhoneSession, shipped: Shipped
) -> None:
    made = shipped.manifest(version_of(session))
    install(session, made)
    file = Path(phone.root) / "apps/app/releases" / made[1] / "model.onnx"
    file.unlink()
    file.write_bytes(b"damaged")
    assert not session.call("status", {})["apps"][0]["healthy_files"]
    with pytest.raises(AgentError) as caught:
        session.call("activate", {"app": "app", "digest": made[1]})
    assert caught.value.code == "digest-mismatch"
    install(session, made)
    assert session.call("status", {})["apps"][0]["healthy_files"]


def test_a_release_of_another_program_is_not_switched_to(session: PhoneSession, shipped: Shipped) -> None:
    with pytest.raises(RuntimeMissing, match="is not on the phone"):
        install(session, shipped.manifest("sha256.000000000000"))


def test_a_release_that_does_not_run_is_not_switched_to(
    phone: Phone, session: PhoneSession, shipped: Shipped, tmp_path: Path
) -> None:
    first = shipped.manifest(version_of(session))
    install(session, first)
    bring(session, write_script(tmp_path / "broken", does="echo bad model; exit 1"))
    with pytest.raises(HealthCheckFailed, match="bad model"):
        install(session, shipped.manifest(version_of(session), variant="int8"))
    assert current(phone) == first[1]


def assert_whole(release: Path) -> None:
    """Every file is what the release's manifest says, and that is what the release is called."""
    text = (release / "manifest.json").read_bytes()
    assert hashlib.sha256(text).hexdigest() == release.resolve().name
    for item in json.loads(text)["files"]:
        assert file_digest(release / item["path"]) == item["digest"]


def test_a_cut_anywhere_leaves_a_whole_release(phone: Phone, shipped: Shipped, session: PhoneSession) -> None:
    version = version_of(session)
    first, second = shipped.manifest(version), shipped.manifest(version, variant="int8")
    install(session, first)
    phone.replugs = True
    for number in range(1, 40, 3):
        phone.cut_at_command = number
        with contextlib.suppress(DeviceError):
            install(session, second)
            break
        there = current(phone)
        assert there in (first[1], second[1]), number
        assert_whole(Path(phone.root) / "apps/app/current")
        assert phone.plugged.wait(10.0)
        session.reopen()
        assert not list(Path(phone.root).glob("apps/app/.tmp-*")), number
    phone.cut_at_command = None
    assert number > 6
    assert current(phone) == second[1]


def test_garbage_in_the_tree_is_no_release(phone: Phone, session: PhoneSession, shipped: Shipped) -> None:
    install(session, made := shipped.manifest(version_of(session)))
    app = Path(phone.root) / "apps/app"
    (app / "state.json").write_text('{"history": [{"digest": 3}, "x", null], "schema": [[[')
    (app / "releases" / ("f" * 64)).mkdir()
    (app / "releases" / ("f" * 64) / "manifest.json").write_text('{"files": []}')
    (app / "releases" / "not a digest").mkdir()
    (Path(phone.root) / "apps" / "$(id)").mkdir()
    found = session.call("status", {})["apps"]
    assert [app["app"] for app in found] == ["app"]
    assert found[0]["current"] == made[1]
    assert {r["digest"]: r["variant"] for r in found[0]["releases"]} == {made[1]: "clean", "f" * 64: None}


def test_a_session_for_once_leaves_nothing(phone: Phone, tmp_path: Path) -> None:
    with session_of(phone) as opened:
        opened.lock("setup", Owner.this_process("setup"))
        bring(opened, write_script(tmp_path / "bin"))
    before = sorted(str(path) for path in (phone.folder / "data").rglob("*") if "runtimes" not in path.parts)
    with session_of(phone, ephemeral=True) as opened:
        opened.lock("bench", Owner.this_process("bench"))
        assert Shipped(opened, tmp_path / "work", b"model", "model.onnx").where.startswith(f"{phone.root}-")
        assert version_of(opened)
    after = sorted(str(path) for path in (phone.folder / "data").rglob("*") if "runtimes" not in path.parts)
    assert [path for path in after if path not in before] == []


# --- a program that gives answers --------------------------------------------------------------------------------------


LITERT = SETTING | {"runtime": "litert", "provider": "XNNPACK"}


def test_a_phones_own_answers_are_compared(phone: Phone, session: PhoneSession, tmp_path: Path) -> None:
    """benchmark_model's stand-in runs the true LiteRT here; everything else is as on a phone."""
    pytest.importorskip("ai_edge_litert")
    from tests.unit.compiler.convert.lite import convert, run

    bring(session, write_program(tmp_path / "bin", "android_aarch64_benchmark_model"))
    data = convert(models.classifier(batch=1))
    shipped = Shipped(session, tmp_path / "work", data, "model.tflite")
    session.describe(INPUTS, OUTPUTS)
    reply = session.call("block", shipped.job("outputs", runtime="litert", setting=LITERT))
    assert reply["samples"] == 3
    session.link.get(reply["file"]["path"], tmp_path / "answers.npz", max_bytes=1 << 20)
    assert file_digest(tmp_path / "answers.npz") == reply["file"]["sha256"]
    mine = [run(data, {"x": row[0]}) for row in shipped.rows]
    for got, want in zip(read_rows(tmp_path / "answers.npz"), mine, strict=True):
        np.testing.assert_allclose(got[0], want[0], rtol=1e-5)

    block = session.call("block", shipped.job("time", runtime="litert", setting=LITERT))
    assert (len(block["latencies_ns"]), block["provider_used"]) == (1, "XNNPACK")
    assert block["latencies_are"] in ("median", "mean")

    version = version_of(session, "litert")
    right = content(_npz(tmp_path / "right.npz", mine))
    wrong = content(_npz(tmp_path / "wrong.npz", [[want[0] + 0.1] for want in mine]))
    ship(session, [right, wrong], Silent())
    made = [_checked(shipped, version, expected) for expected in (right, wrong)]
    health = install(session, made[0])["health"]
    assert (health["ok"], health["samples"]) == (True, 3)
    with pytest.raises(HealthCheckFailed, match=r"output 0 differs by 0\.1"):
        install(session, made[1])
    assert current(phone) == made[0][1]


def _npz(path: Path, rows: list[list[Any]]) -> Path:
    write_npz(make_samples(["scores"], rows, source="made"), path)
    return path


def _checked(shipped: Shipped, version: str, expected: Content) -> tuple[dict[str, Any], str]:
    files = [Shipped.file(item) for item in (shipped.model, shipped.inputs, expected)]
    probe = {"inputs": "inputs.npz", "outputs": expected.label, "rtol": 1e-3, "atol": 1e-3}
    return shipped.manifest(version, files=files, probe=probe, setting=LITERT)
