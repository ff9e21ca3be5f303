"""What may be said of answers to inputs that nobody's application will ever feed: how alike they are there, and nothing that follows for real ones."""

from __future__ import annotations

import msgspec

from edgeopt.domain.variant import Fidelity

NOTE = "compared on synthetic inputs: real ones may agree less"
NO_CLAIM = "it was measured on synthetic inputs, and what holds for them need not hold for yours"
_CLAIMS = ("agreement_lower", "expected_drop", "expected_drop_low", "expected_drop_high")


def on_synthetic(fidelity: Fidelity) -> Fidelity:
    """Return the record without its claims about accuracy, and marked. Kinds of samples that lose more are gone, too: they are no kinds of the user's."""
    return msgspec.structs.replace(
        fidelity,
        synthetic=True,
        notes=(*fidelity.notes, NOTE),
        worst_clusters=(),
        reasons=fidelity.reasons | dict.fromkeys(("agreement_lower", "expected_drop"), NO_CLAIM),
        **dict.fromkeys(_CLAIMS),
    )
