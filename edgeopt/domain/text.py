"""How a text becomes tokens, as data."""

from __future__ import annotations

from typing import Annotated

import msgspec

Tokens = Annotated[int, msgspec.Meta(ge=2, le=65536)]
Field = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class TextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is None follows from the model and its tokenizer.

    `tokenizer` is a folder with tokenizer.json or vocab.txt, or one of these files, relative to edgeopt.toml; by default the folder that the model was read from.
    `max_length` is where longer texts are cut, in tokens with the special ones. `pad_to` makes every text that long, longer ones are cut
    and shorter ones filled up; without it every text keeps its length where the model leaves that open. `field` names the text of each line of a .jsonl file; two names make pairs.
    """

    tokenizer: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)] | None = None
    max_length: Tokens | None = None
    pad_to: Tokens | None = None
    field: Field | Annotated[tuple[Field, ...], msgspec.Meta(min_length=1, max_length=2)] = "text"

    @property
    def fields(self) -> tuple[str, ...]:
        """The names, one or two."""
        return (self.field,) if isinstance(self.field, str) else self.field
