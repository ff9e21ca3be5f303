"""The same variant scored twice: computed in floating point as its file says, and by the kernels that really run.

Kernels may differ from the arithmetic of the file: x86 without VNNI adds pairs of int8 products in 16 bits, which saturate. The emulation
does not see it, so a gap between the two has to be said.
"""

from __future__ import annotations

import math

from edgeopt.domain.variant import Fidelity

NOISE_DB = 3.0
"""SQNR is over many thousand values, so its own noise is small; this is twice the noise power."""
AUDIBLE_DB = 40.0
"""Above that, differences are of the order in which floats are added."""
Z = 1.959964
"""Two-sided 95 % of the normal distribution."""


def real_kernel_gap(emulated: Fidelity, real: Fidelity) -> str | None:
    """Return a sentence when the two differ by more than noise, None when they do not.

    Shares are compared as two independent ones (Agresti and Caffo, The American Statistician 54 (2000): one success and one failure added to
    each), which is too careful for equal samples, so that what is said is sure.
    """
    falls = emulated.agreement - real.agreement
    if abs(falls) > _noise(emulated, real):
        figures = f"agreement {_percent(real.agreement)} on real kernels against {_percent(emulated.agreement)} in float emulation"
        return _sentence(figures, worse=falls > 0)
    if emulated.sqnr_db is None or real.sqnr_db is None or min(emulated.sqnr_db, real.sqnr_db) > AUDIBLE_DB:
        return None
    if abs(emulated.sqnr_db - real.sqnr_db) <= NOISE_DB:
        return None
    figures = f"SQNR {real.sqnr_db:.1f} dB on real kernels against {emulated.sqnr_db:.1f} dB in float emulation"
    return _sentence(figures, worse=real.sqnr_db < emulated.sqnr_db)


def _sentence(figures: str, *, worse: bool) -> str:
    if worse:
        return f"{figures}: the kernels lose what the arithmetic does not, as when 16-bit sums saturate on x86 without VNNI; use 7-bit weights there"
    return f"{figures}: what runs is not what was emulated, as when the runtime keeps a part in floating point"


def _noise(a: Fidelity, b: Fidelity) -> float:
    """Half width of the 95 % interval of the difference of the two agreements."""
    variance = 0.0
    for each in (a, b):
        n = each.samples + 2
        share = (max(0.0, each.agreement) * each.samples + 1) / n
        variance += share * (1 - share) / n
    return Z * math.sqrt(variance)


def _percent(share: float) -> str:
    return f"{share:.2%}"
