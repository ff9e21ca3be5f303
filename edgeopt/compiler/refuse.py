"""How a task in the child says no, in words that reach the user."""

from __future__ import annotations

import re


class Refused(Exception):
    """The task will not or cannot: `code` is stable, the message is a sentence without the file's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooLarge(Exception):
    """A result is larger than its bound."""


OUT_OF_MEMORY_WORDS = (
    "bad_alloc",
    "MemoryError",
    "Failed to allocate memory",
    "Cannot allocate memory",
    "bad allocation",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether a library's exception says in its words that memory ran out."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in OUT_OF_MEMORY_WORDS)


_NOISE = (
    re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : "),
    re.compile(r"^\w+Error: "),
    re.compile(r"Load model from \S+ failed: ?"),
    re.compile(r"(/[\w.+@-]+)+/(?=[\w.-]+)"),
    re.compile(r"\b[\w/]+\.(cc|h|cpp):\d+( [\w:~]+\([^)]*\))?( [\w:]+(?= ))? ?"),
    re.compile(r"\bonnxruntime::[\w:<>]+\((?:[^()]|\([^()]*\))*\)( const)?:? ?"),
    re.compile(r"\s*==> Context:.*$", re.DOTALL),
)
MAX_WORDS = 300


def shorten(message: str) -> str:
    """A library's message on one line: without error prefixes, source positions and folders of this computer, at most 300 characters."""
    for noise in _NOISE:
        message = noise.sub("", message)
    words = " ".join(message.split())
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1].rstrip() + "…"
