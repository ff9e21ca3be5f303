"""The child's task `tokenize`: texts to the numbers of a model's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeopt.compiler.refuse import Refused, out_of_memory, shorten

MAX_BYTES = 256 << 20
UNKNOWN, START, END, PAD = "[UNK]", "[CLS]", "[SEP]", "[PAD]"
LIMITS = {
    "sentence_bert_config.json": "max_seq_length",
    "tokenizer_config.json": "model_max_length",
    "config.json": "max_position_embeddings",
}
"""Files of a Hugging Face folder that bound the length of a text, and under which key."""

DEFAULT_MOST = 512
OFFSET_TYPES = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Kinds of networks whose positions begin behind the padding's number: two of them are never used."""


def tokenize_task(request: dict[str, Any], _scratch: Path, _limits: dict[str, Any]) -> dict[str, Any]:
    """`{"tokenizer", "texts", "max_length"}` -> `{"texts": [{"tokens", "types", "cut"}], "most", "pad"}`.

    `tokenizer` is a folder or a file, `texts` the path of a JSON file: a list of lists of one or two strings.

    Raises:
        Refused: tokenizer-missing, tokenizer-unreadable.
    """
    place = Path(request["tokenizer"])
    folder = place if place.is_dir() else place.parent
    tokenizer = open_tokenizer(place)
    most = min(most_tokens(folder), request["max_length"] or DEFAULT_MOST << 7)
    pad = tokenizer.token_to_id(PAD)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    texts = json.loads(Path(request["texts"]).read_bytes())
    whole = [len(each.ids) for each in _encode(tokenizer, texts)]
    tokenizer.enable_truncation(most)
    found = [
        {"tokens": each.ids, "types": each.type_ids, "cut": length > len(each.ids)}
        for each, length in zip(_encode(tokenizer, texts), whole, strict=True)
    ]
    if not all(each["tokens"] for each in found):
        raise Refused("tokenizer-unreadable", "its tokenizer makes no tokens of some of the texts")
    return {"texts": found, "most": most, "pad": 0 if pad is None else pad}


def _encode(tokenizer: Any, texts: list[list[str]]) -> Any:
    return tokenizer.encode_batch([each[0] if len(each) == 1 else tuple(each) for each in texts])


def open_tokenizer(place: Path) -> Any:
    """A tokenizer from a folder, a tokenizer.json or a vocab.txt.

    Raises:
        Refused: tokenizer-missing, tokenizer-unreadable.
    """
    import tokenizers

    names = ("tokenizer.json", "vocab.txt")
    file = next((place / name for name in names if (place / name).is_file()), place) if place.is_dir() else place
    if not file.is_file():
        raise Refused("tokenizer-missing", "there is no tokenizer.json and no vocab.txt")
    if file.stat().st_size > MAX_BYTES:
        raise Refused("tokenizer-unreadable", f"{file.name} has more than {MAX_BYTES >> 20} MiB")
    try:
        if file.suffix == ".json":
            return tokenizers.Tokenizer.from_file(str(file))
        return _word_pieces(file)
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("tokenizer-unreadable", f"{file.name}: {shorten(str(error))}") from error


def _word_pieces(file: Path) -> Any:
    """BERT's tokenizer from its vocabulary; whether letters are made small says tokenizer_config.json, else whether the vocabulary has any large ones."""
    import tokenizers

    words = file.read_text(encoding="utf-8").splitlines()
    told = _number_or_flag(file.parent / "tokenizer_config.json", "do_lower_case")
    special = {UNKNOWN, START, END, PAD, "[MASK]"}
    lower = told if isinstance(told, bool) else not any(word != word.lower() for word in words if word not in special)
    return tokenizers.BertWordPieceTokenizer(str(file), lowercase=lower)._tokenizer  # noqa: SLF001 - the one form that the others have


def most_tokens(folder: Path) -> int:
    """The longest text that the folder's files allow, in tokens."""
    found = []
    for name, key in LIMITS.items():
        value = _number_or_flag(folder / name, key)
        if isinstance(value, int) and 2 <= value <= 1 << 20:
            found.append(value - 2 if key.startswith("max_position") and _is_offset(folder) else value)
    return min(found, default=DEFAULT_MOST)


def _is_offset(folder: Path) -> bool:
    return _number_or_flag(folder / "config.json", "model_type") in OFFSET_TYPES


def _number_or_flag(file: Path, key: str) -> Any:
    """A value of a JSON file, None when there is none."""
    try:
        return json.loads(file.read_bytes()).get(key) if file.stat().st_size < 1 << 20 else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
