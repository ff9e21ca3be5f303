"""The ARM guest that the tests of a session share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hil.arm_guest import boot, require_qemu
from tests.hil.arm_image import ArmImage, arm_image
from tests.hil.arm_loop import Deployed, make_arm, run_loop


@pytest.fixture(scope="session")
def image() -> ArmImage:
    """Debian for ARM, built when there is none yet."""
    require_qemu()
    return arm_image()


@pytest.fixture(scope="session")
def deployed(image: ArmImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A guest with a Cortex-A72 and a disk of its own, on which the loop has been run; each test leaves one of the two releases in use."""
    folder = tmp_path_factory.mktemp("arm")
    guest = boot(image, folder / "guest", keep=True)
    try:
        yield run_loop(make_arm(folder, guest))
    finally:
        guest.stop()


@pytest.fixture
def full(request: pytest.FixtureRequest) -> None:
    """Skip the test unless everything is asked for."""
    if request.config.getoption("--arm") != "full":
        pytest.skip("takes minutes: make hil, or --arm full")
