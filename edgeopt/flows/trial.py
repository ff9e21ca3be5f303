"""Everything that one run has put on a device and learned there so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeopt.domain.prior import Prior
from edgeopt.domain.run import Block, Candidate
from edgeopt.flows.build import Build
from edgeopt.flows.prepare import Job
from edgeopt.measure.outputs import Fetched
from edgeopt.measure.rounds import Bench
from edgeopt.measure.session import Session
from edgeopt.measure.ship import Shipped
from edgeopt.samples.record import Samples


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Variants, samples and runtime on the device, ready to be measured.

    `versions` are those of the runtimes there. `work` is a folder of this computer that lives as long as the session; `answers` are the device's own outputs by candidate. `priors` and `pruned`: what was
    expected, and what is not worth device time; `screen_blocks` and `pruned_settings`: of the settings.
    """

    run_id: str
    job: Job
    built: Build
    samples: Samples
    session: Session
    work: Path
    facts: dict[str, Any]
    bench: Bench
    versions: dict[str, str]
    shipped: Shipped
    candidates: tuple[Candidate, ...]
    priors: tuple[Prior, ...] = ()
    pruned: dict[str, str] = {}
    screen_blocks: tuple[Block, ...] = ()
    pruned_settings: dict[str, str] = {}
    answers: dict[str, Fetched] = {}
