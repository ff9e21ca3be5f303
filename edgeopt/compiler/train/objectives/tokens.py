"""Inputs of tokens: which of them are, what hides one, and how answers at places are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from edgeopt.compiler.train.objectives.mimic import divergence, squared
from edgeopt.compiler.train.objectives.scene import Scene

LEAST_KINDS = 8
"""Of values in an input of integers; masks and segments have fewer."""


def ids_of(feeds: Mapping[str, Any]) -> str | None:
    """The input that holds the tokens, [samples, places]; None where there is none."""
    found = [name for name, x in feeds.items() if x.dim() == 2 and x.dtype in (torch.int64, torch.int32)]
    found = [name for name in found if int(feeds[name].max()) >= LEAST_KINDS]
    return found[0] if found else None


def replaced(ids: Any, where: Any, random: Any) -> Any:
    """Tokens at some places exchanged for others of the same group: no vocabulary and no mask token are known of a graph.

    As in the replacements of BERT's recipe and of Clark et al., *ELECTRA*, ICLR 2020.
    """
    order = torch.randperm(ids.numel(), generator=random).to(ids.device)
    return torch.where(where.to(ids.device), ids.reshape(-1)[order].reshape(ids.shape), ids)


def at_places(scene: Scene, teacher: Mapping[str, Any], student: Mapping[str, Any], where: Any) -> Any:
    """How far answers at some places, [samples, places], are apart: divergence of distributions, else squared error of the last features; None where neither has places."""
    for name, axis in scene.compared.logits:
        if teacher[name].dim() == 3 and teacher[name].shape[:2] == where.shape and axis in (-1, 2):
            return divergence(_chosen(teacher[name], where), _chosen(student[name], where), -1)
    last = scene.compared.last
    for name in (*scene.compared.values, *((last,) if last else ()), *reversed(scene.compared.blocks)):
        if teacher[name].dim() == 3 and teacher[name].shape[:2] == where.shape:
            return squared(_chosen(teacher[name], where), _chosen(student[name], where))
    return None


def _chosen(answers: Any, where: Any) -> Any:
    return answers[where.to(answers.device)]


def some(shape: tuple[int, ...], share: float, random: Any) -> Any:
    """Places chosen at random, at least one."""
    draws = torch.rand(shape, generator=random)
    return (draws < share) | (draws == draws.min())
