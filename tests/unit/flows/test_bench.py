"""What is built is built for the board that answered."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from edgeopt.domain.observer import Silent
from edgeopt.errors import RuntimeMissing
from edgeopt.flows import bench as flow
from edgeopt.flows.request import Request
from edgeopt.profiles.places import find_places
from tests import models

SILENT = Silent()


class Noted(Silent):
    """Keeps the notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


class Looked(Exception):
    """With the job: ends the flow where building would begin."""


@pytest.fixture
def job_for(tmp_path, monkeypatch):
    """The job that would be built when the local board says `facts` of itself besides what the real one says."""
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    real = flow.open_session

    def ask(profile=None, observer=SILENT, **facts):
        @contextlib.contextmanager
        def session(device, places, **options):
            with real(device, places, **options) as opened:

                class Answers:
                    def call(self, name, params):
                        return opened.call(name, params) | facts

                yield Answers()

        def stop(job, _places, _observer):
            raise Looked(job)

        monkeypatch.setattr(flow, "open_session", session)
        monkeypatch.setattr(flow, "build", stop)
        places = find_places({"EDGEOPT_HOME": str(tmp_path / "home")})
        with pytest.raises(Looked) as caught:
            flow.bench(Request(model=path, ephemeral=True, profile=profile), places, observer)
        return caught.value.args[0]

    return ask


@pytest.mark.parametrize(
    ("machine", "features", "encoding"),
    [
        ("x86_64", ["avx2"], "u8s8-7bit"),
        ("x86_64", ["avx2", "avx_vnni"], "u8s8"),
        ("aarch64", ["asimddp"], "s8s8"),
    ],
)
def test_int8_is_written_for_the_cpu_that_the_board_has(job_for, machine, features, encoding):
    assert job_for(machine=machine, cpu={"features": features}).profile.int8_encoding == encoding


def test_what_the_cpu_cannot_say_is_left_to_the_architecture(job_for):
    job = job_for(machine="x86_64", cpu={"features": None})
    assert job.profile == msgspec.structs.replace(job.profile, int8_encoding="auto")


def test_a_board_without_the_runtime_is_told_before_anything_is_built(job_for):
    with pytest.raises(RuntimeMissing, match="onnxruntime is not on the device"):
        job_for(runtimes=[])


def test_a_profile_of_another_board_is_said_before_anything_is_built(job_for):
    """And the build goes on: the user may know better."""
    board = {"dt_model": "Raspberry Pi 5 Model B Rev 1.0", "dt_compatible": ["raspberrypi,5-model-b"]}
    noted = Noted()
    job = job_for(
        profile="pi4", observer=noted, machine="aarch64", board=board, cpu={"features": ["asimd"], "parts": []}
    )
    assert job.profile.name == "pi4"
    assert (
        "The profile may be the wrong one. It looks like `pi5`, the inventory says `pi4`: its device tree says 'raspberrypi,5-model-b'."
        in noted.notes
    )
    quiet = Noted()
    job_for(profile="pi5", observer=quiet, machine="aarch64", board=board, cpu={"features": ["asimd"], "parts": []})
    assert not [note for note in quiet.notes if "profile" in note]


def test_files_are_written_for_the_onnx_runtime_that_is_there(job_for):
    """JetPack 6 has 1.23 at most, whatever the profile has in mind."""
    found = [{"name": "onnxruntime", "version": "1.23.2", "source": "python", "site": None, "providers": []}]
    job = job_for(profile="pi4", runtimes=found)
    assert (job.profile.max_opset, job.profile.max_ir_version) == (23, 11)
