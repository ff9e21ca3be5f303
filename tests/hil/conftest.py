"""The ARM guest that the tests of a session share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hil.arm_guest import boot, require_qemu
from tests.hil.arm_image import ArmImage, arm_image
from tests.hil.arm_loop import Bare, Deployed, look_at, make_arm, run_loop

TAKES_MINUTES = "takes minutes: make hil, or --arm full"


@pytest.fixture(scope="session")
def image() -> ArmImage:
    """Debian for ARM, built when there is none yet."""
    require_qemu()
    return arm_image()


@pytest.fixture(scope="session")
def bare(image: ArmImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A guest with a Cortex-A72 and a disk of its own, as it was before anything was put there."""
    folder = tmp_path_factory.mktemp("arm")
    guest = boot(image, folder / "guest", keep=True)
    try:
        yield look_at(make_arm(folder, guest))
    finally:
        guest.stop()


@pytest.fixture(scope="session")
def deployed(request: pytest.FixtureRequest) -> Deployed:
    """The same guest after the loop has been run on it; each test leaves one of the two releases in use. Minutes of emulation, so not in a quick run."""
    if request.config.getoption("--arm") != "full":
        pytest.skip(TAKES_MINUTES)
    bare: Bare = request.getfixturevalue("bare")
    return run_loop(bare.arm)


@pytest.fixture
def full(request: pytest.FixtureRequest) -> None:
    """Skip the test unless everything is asked for."""
    if request.config.getoption("--arm") != "full":
        pytest.skip(TAKES_MINUTES)
