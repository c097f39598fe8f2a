# SPDX-License-Identifier: MIT
"""A mixture of experts of Mixtral's kind, as llama.cpp computes its "llama" architecture."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Shape:
    vocab: int = 2048
    embd: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 8
    experts_used: int = 2
    ff: int = 128
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-5


def grid_parts(weight, levels):
    """Scales [..., row, block, 1] and whole multiples of them [..., row, block, 32]: the nearest weights that all of ggml's
    usual types hold exactly. 32 neighbours share a scale, of five bits times a power of two that is the row's."""
    blocks = weight.unflatten(-1, (-1, 32))
    scale = blocks.abs().amax(-1, keepdim=True) / levels
    step = torch.exp2(torch.ceil(torch.log2(scale.amax(-2, keepdim=True).clamp_min(1e-12) / 31)))
    scale = (scale / step).round().clamp(1, 31) * step
    return scale, (blocks / scale).round().clamp(-levels, levels)


def grid(weight, levels):
    """The weights on the grid; gradients pass through."""
    with torch.no_grad():
        scale, multiples = grid_parts(weight, levels)
        snapped = (scale * multiples).flatten(-2)
    return weight + (snapped - weight).detach()


class Weight(nn.Module):
    """[..., out][in], on the grid once `snap` is set."""

    def __init__(self, *shape, std, levels=7):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape) * std)
        self.levels, self.snap = levels, False

    def forward(self):
        return grid(self.weight, self.levels) if self.snap else self.weight


class Norm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(shape.embd)), shape.eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rope_tables(shape, length):
    frequency = shape.rope_base ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angle = torch.outer(torch.arange(length).float(), frequency)
    return angle.cos(), angle.sin()


def rope(x, cos, sin):
    """Pairs of neighbours turn together, as llama.cpp's LLAMA_ROPE_TYPE_NORM. x: [batch][head][token][head_dim]"""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        std = s.embd**-0.5
        self.q = Weight(s.heads * s.head_dim, s.embd, std=std)
        self.k = Weight(s.kv_heads * s.head_dim, s.embd, std=std)
        self.v = Weight(s.kv_heads * s.head_dim, s.embd, std=std)
        self.o = Weight(s.embd, s.heads * s.head_dim, std=std / (2 * s.layers) ** 0.5)

    def forward(self, x, cos, sin):
        s, (batch, length, _) = self.s, x.shape
        heads = lambda y, n: y.view(batch, length, n, s.head_dim).transpose(1, 2)
        q = rope(heads(F.linear(x, self.q()), s.heads).float(), cos, sin)
        k = rope(heads(F.linear(x, self.k()), s.kv_heads).float(), cos, sin)
        v = heads(F.linear(x, self.v()), s.kv_heads).float()
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        # In float: the processor's bfloat16 kernel for it is half as fast.
        with torch.autocast("cpu", enabled=False):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(y.transpose(1, 2).reshape(batch, length, -1), self.o())


class Experts(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.router = nn.Parameter(torch.randn(s.experts, s.embd) * s.embd**-0.5)
        self.gate = Weight(s.experts, s.ff, s.embd, std=s.embd**-0.5)
        self.up = Weight(s.experts, s.ff, s.embd, std=s.embd**-0.5)
        self.down = Weight(s.experts, s.embd, s.ff, std=s.ff**-0.5 / (2 * s.layers) ** 0.5)

    def forward(self, x):
        s = self.s
        flat = x.reshape(-1, s.embd)
        with torch.autocast("cpu", enabled=False):  # which expert is chosen must not hang on eight bits
            probability = F.linear(flat.float(), self.router).softmax(-1)
        top, chosen = probability.topk(s.experts_used, -1)
        share = top / top.sum(-1, keepdim=True)
        # All tokens of an expert together: rows sorted by expert, computed in pieces, put back.
        order = chosen.flatten().argsort()
        counts = torch.bincount(chosen.flatten(), minlength=s.experts)
        token = order // s.experts_used
        rows = flat.index_select(0, token)
        gate, up, down = self.gate(), self.up(), self.down()
        pieces = []
        for expert, piece in enumerate(rows.split(counts.tolist())):
            pieces.append(F.linear(F.silu(F.linear(piece, gate[expert])) * F.linear(piece, up[expert]), down[expert]))
        out = torch.cat(pieces) * share.flatten().index_select(0, order).unsqueeze(-1)
        result = torch.zeros_like(flat).index_add(0, token, out.to(flat.dtype))
        # Keeps all experts in use: the product is least when tokens are spread evenly.
        balance = s.experts * (counts / counts.sum() * probability.mean(0)).sum()
        return result.view_as(x), balance


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.attention_norm, self.attention = Norm(s), Attention(s)
        self.experts_norm, self.experts = Norm(s), Experts(s)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attention_norm(x), cos, sin)
        y, balance = self.experts(self.experts_norm(x))
        return x + y, balance


class Model(nn.Module):
    def __init__(self, shape=Shape()):
        super().__init__()
        self.shape = shape
        self.embedding = Weight(shape.vocab, shape.embd, std=0.02, levels=31)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)
        cos, sin = rope_tables(shape, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def snap_to_grid(self):
        for module in self.modules():
            if isinstance(module, Weight):
                module.snap = True

    def forward(self, ids, wanted=None):
        """ids: [batch][token]. Logits, of all tokens or of those that are `wanted` alone, and the balance of the routers."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        table = self.embedding()
        x, balance = F.embedding(ids, table), 0.0
        for layer in self.layers:
            x, one = layer(x, cos, sin)
            balance = balance + one
        x = self.norm(x)
        return F.linear(x if wanted is None else x[wanted], table), balance / self.shape.layers
