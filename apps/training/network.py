"""The draft in torch: the same computation as `gating_fusion.py` and `draft_blocks.py`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from slipstream.runtime.dovetail.config import DovetailConfig


class DraftNetwork(nn.Module):
    """Hidden states and the tokens after them in, the next hidden states out."""

    def __init__(self, config: DovetailConfig) -> None:
        super().__init__()
        self.config, size = config, config.hidden_size
        self.fusion = nn.ModuleDict(
            {
                "hidden": nn.Linear(size, size, bias=False),
                "norm": _Norm(size, config.rms_eps),
                "embedding": nn.Linear(size, size, bias=False),
                "gate": nn.Linear(2 * size, size, bias=False),
            }
        )
        self.blk = nn.ModuleList(_Block(config, index) for index in range(config.num_blocks))
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.xavier_uniform_(weight)

    def forward(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        """(B, T, C) of hidden states and embeddings (B, T, C); row t sees rows up to t."""
        h1 = self.fusion["hidden"](hidden)
        h2 = F.silu(self.fusion["embedding"](self.fusion["norm"](embedded)))
        z = torch.sigmoid(self.fusion["gate"](torch.cat([h1, h2], dim=-1)))
        x = z * h1 + (1 - z) * h2
        cos, sin = _angles(self.config, hidden.shape[1], hidden.device)
        for block in self.blk:
            x = block(x, cos, sin)
        return x


class _Norm(nn.RMSNorm):
    """In float32, also where the rest is bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class _Block(nn.Module):
    def __init__(self, config: DovetailConfig, index: int) -> None:
        super().__init__()
        self.config, size = config, config.hidden_size
        q_size = config.num_heads * config.head_size
        kv_size = config.num_kv_heads * config.head_size
        self.attn_norm = _Norm(size, config.rms_eps) if index else nn.Identity()
        self.attn_q = nn.Linear(size, q_size, bias=False)
        self.attn_k = nn.Linear(size, kv_size, bias=False)
        self.attn_v = nn.Linear(size, kv_size, bias=False)
        self.attn_output = nn.Linear(q_size, size, bias=False)
        self.ffn_norm = _Norm(size, config.rms_eps)
        self.ffn_gate = nn.Linear(size, config.feed_forward_size, bias=False)
        self.ffn_up = nn.Linear(size, config.feed_forward_size, bias=False)
        self.ffn_down = nn.Linear(config.feed_forward_size, size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        c, (batch, length, _) = self.config, x.shape
        h = self.attn_norm(x)

        def heads(y: Tensor, count: int) -> Tensor:
            return y.view(batch, length, count, c.head_size).transpose(1, 2)

        q = _rotated(heads(self.attn_q(h), c.num_heads), cos, sin)
        k = _rotated(heads(self.attn_k(h), c.num_kv_heads), cos, sin)
        v = heads(self.attn_v(h), c.num_kv_heads)
        shared = c.num_heads // c.num_kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(attended.transpose(1, 2).reshape(batch, length, -1))
        h = self.ffn_norm(x)
        opened: Tensor = x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return opened


def _angles(config: DovetailConfig, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (T, D / 2)."""
    exponents = torch.arange(0, config.head_size, 2, device=device) / config.head_size
    angles = torch.outer(torch.arange(length, device=device), config.rope_base**-exponents)
    return angles.cos(), angles.sin()


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (B, H, T, D) whose halves are the two parts of rotated pairs."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)
