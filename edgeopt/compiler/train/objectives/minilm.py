"""Attention and how values relate, of the last layer: Wang et al., *MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers*, NeurIPS 2020.

The layers need not have the same names, nor be as many: what counts is the last of each network.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional

from edgeopt.compiler.train.objectives.scene import Scene
from edgeopt.compiler.train.twin import Twin


class Attention(NamedTuple):
    """Names of tensors: weights [samples, heads, places, places] before their softmax, and values [samples, heads, places, channels]."""

    scores: str
    values: str


def last_attention(twin: Twin) -> Attention | None:
    """The last softmax that multiplies something, None where there is no attention."""
    softmaxes = {node.outputs[0]: node for node in twin.nodes if node.op == "Softmax"}
    for node in reversed(twin.nodes):
        if node.op == "MatMul" and node.inputs[0] in softmaxes and node.inputs[1] not in twin.roles:
            return Attention(scores=softmaxes[node.inputs[0]].inputs[0], values=node.inputs[1])
    return None


def minilm(scene: Scene) -> Any:
    """Divergence of the attention and of the relations of values, in nats; None where a network has no attention of the same form."""
    if scene.attention is None:
        return None
    theirs, ours = scene.attention
    t, s = scene.teacher, scene.student
    if t[theirs.scores].shape != s[ours.scores].shape or t[theirs.values].shape[:-1] != s[ours.values].shape[:-1]:
        return None
    attention = _divergence(t[theirs.scores], s[ours.scores])
    return attention + _divergence(_relation(t[theirs.values]), _relation(s[ours.values]))


def _relation(values: Any) -> Any:
    values = values.float()
    return values @ values.transpose(-1, -2) / values.shape[-1] ** 0.5


def _divergence(teacher: Any, student: Any) -> Any:
    """KL over the last axis. Places that a mask takes out are the same in both."""
    log_t, log_s = (functional.log_softmax(x.float().clamp(min=-1e4), -1) for x in (teacher, student))
    return torch.sum(log_t.exp() * (log_t - log_s), -1).mean()
