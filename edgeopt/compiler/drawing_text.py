"""The child's task `draw_text`: texts that nobody wrote, as token numbers, for a model that takes such.

Where the model answers with scores of its vocabulary at every position (masked-LM), texts are drawn from what it believes: Wang and Cho, *BERT has a Mouth, and It Must Speak*, 2019 (arXiv 1902.04094), section 3:
from masks alone, positions are masked again and drawn again from the model's own distribution. Else they are drawn uniformly from the vocabulary: of the right form, and of no sense.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler import progress
from edgeopt.compiler.reading import read_checked
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feed, open_runner, run_one
from edgeopt.compiler.tokenizing import most_tokens, open_tokenizer

STARTS, ENDS, MASKS = ("[CLS]", "<s>"), ("[SEP]", "</s>"), ("[MASK]", "<mask>")
NOT_WORDS = ("[unused", "<pad", "[PAD", "[UNK", "<unk")
"""What special numbers begin with, besides those."""

SHORTEST, LONGEST = 8, 48
"""Tokens of a text where the model leaves its length open."""

ROUNDS, AGAIN = 12, 0.25
"""How often a share of the positions is drawn again: each three times on average."""

PASSED_ON = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"})
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Numbers of tokens: those of words, and the special ones where there are such."""

    words: Array
    start: int | None = None
    end: int | None = None
    mask: int | None = None


def draw_text_task(request: dict[str, Any], _scratch: Path, _limits: dict[str, Any]) -> dict[str, Any]:
    """`{"model", "tokenizer", "tokens", "inputs", "length", "count", "seed"}` and at will `{"progress"}` -> `{"texts": [[number]], "how": words}`.

    `tokenizer` is a folder or file, None without. `tokens` is the name of the input of token numbers, `inputs` name, role and type of all inputs, `length` the number of tokens that the model
    takes, None where that is open. `seed` is a list of whole numbers, `progress` a file to tell in how far it is.

    Raises:
        Refused: vocabulary-unknown: neither a tokenizer nor the graph says how many tokens there are.
    """
    model, _ = read_checked(Path(request["model"]))
    rows, most = _rows(model, request["tokens"]), LONGEST
    vocabulary = None
    if request["tokenizer"] is not None:
        place = Path(request["tokenizer"])
        vocabulary = _vocabulary(open_tokenizer(place), rows)
        most = min(most, most_tokens(place if place.is_dir() else place.parent))
    elif rows is not None:
        vocabulary = Vocabulary(words=np.arange(rows))
    if vocabulary is None or not len(vocabulary.words):
        raise Refused("vocabulary-unknown", "neither a tokenizer nor the graph says how many tokens there are")
    believes = _believer(Path(request["model"]), request["inputs"], vocabulary, request["length"] or SHORTEST)
    texts = []
    progress.begin(request.get("progress"))
    for number in range(request["count"]):
        progress.tell("texts drawn:", number, request["count"])
        generator = np.random.default_rng([*request["seed"], number])
        length = request["length"] or int(generator.integers(min(SHORTEST, most), most, endpoint=True))
        texts.append(draw(vocabulary, length, generator, believes).tolist())
    how = "the model's own predictions" if believes is not None else f"a vocabulary of {len(vocabulary.words):,} alike"
    return {"texts": texts, "how": how}


Believes = Callable[[Array], Array]
"""Token numbers int64 [T] -> scores [T, V]."""


def draw(vocabulary: Vocabulary, length: int, generator: np.random.Generator, believes: Believes | None) -> Array:
    """One text of so many tokens, the special ones at its ends among them; int64 [length]."""
    ids = generator.choice(vocabulary.words, length).astype(np.int64)
    inner = np.ones(length, bool)
    for place, special in ((0, vocabulary.start), (-1, vocabulary.end)):
        if special is not None and length > 2:
            ids[place], inner[place] = special, False
    if believes is None or vocabulary.mask is None:
        return ids
    places = np.flatnonzero(inner)
    for turn in range(1 + ROUNDS):
        count = len(places) if not turn else max(1, round(AGAIN * len(places)))
        chosen = generator.choice(places, count, replace=False)
        ids[chosen] = vocabulary.mask
        scores = believes(ids)[chosen][:, vocabulary.words].astype(np.float64)
        # Gumbel's trick: the largest of scores plus such noise is a draw from their softmax.
        ids[chosen] = vocabulary.words[(scores + generator.gumbel(size=scores.shape)).argmax(axis=1)]
    return ids


def _vocabulary(tokenizer: Any, rows: int | None) -> Vocabulary:
    known = {name: number for name, number in tokenizer.get_vocab().items() if rows is None or number < rows}
    first = {kind: next((known[n] for n in names if n in known), None) for kind, names in _SPECIAL.items()}
    special = {number for number in first.values() if number is not None}
    words = sorted(n for name, n in known.items() if n not in special and not name.startswith(NOT_WORDS))
    return Vocabulary(words=np.array(words, np.int64), **first)


_SPECIAL = {"start": STARTS, "end": ENDS, "mask": MASKS}


def _rows(model: Any, tokens: str) -> int | None:
    """Of the table that token numbers look up; None when none is found."""
    tables = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 2}
    reached, found = {tokens}, []
    for node in model.graph.node:
        if node.op_type in PASSED_ON and node.input[0] in reached:
            reached.update(node.output)
        if node.op_type == "Gather" and node.input[1] in reached and node.input[0] in tables:
            found.append(int(tables[node.input[0]]))
    return min(found, default=None)


def _believer(path: Path, inputs: list[dict[str, str]], vocabulary: Vocabulary, length: int) -> Believes | None:
    """What the model believes of every position; None where it says nothing of the sort."""
    if vocabulary.mask is None:
        return None
    run, _ = open_runner(path)

    def believes(ids: Array) -> Array:
        return np.asarray(run_one(run, feed_of(ids, inputs))[0][0])

    answer = np.asarray(run_one(run, feed_of(vocabulary.words[:1].repeat(length), inputs))[0])
    fits = answer.ndim == 3 and answer.shape[:2] == (1, length) and answer.shape[2] > vocabulary.words.max()
    return believes if fits else None


def feed_of(ids: Array, inputs: list[dict[str, str]]) -> Feed:
    """All inputs for one text without padding."""
    made = {
        "tokens": ids,
        "mask": np.ones_like(ids),
        "types": np.zeros_like(ids),
        "positions": np.arange(len(ids)),
    }
    return {each["name"]: made[each["role"]][None].astype(each["dtype"]) for each in inputs}
