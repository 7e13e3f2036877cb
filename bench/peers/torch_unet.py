"""The U-Net of workload.py in PyTorch, and its step of flow matching; see tinygen_unet.py."""

from __future__ import annotations

from typing import Any

import torch
import workload as w
from torch import nn
from torch.nn import functional as F
from workload import Workload

W, EMB, GROUPS, HEADS = w.UNET_WIDTH, w.UNET_EMBEDDING, w.UNET_GROUPS, w.UNET_HEADS


def conv(a: int, b: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, size, stride=stride, padding=size // 2)


class Block(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, a), conv(a, b)
        self.ada = nn.Linear(EMB, 2 * b)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, b), conv(b, b)
        self.skip = conv(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: Any, e: Any) -> Any:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.ada(e)[:, :, None, None].chunk(2, 1)
        return self.skip(x) + self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))


class Attention(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, c)
        self.qkv, self.out = nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x: Any) -> Any:
        n, c, h, width = x.shape
        rows = self.norm(x).permute(0, 2, 3, 1).reshape(n, h * width, c)
        qkv = self.qkv(rows).reshape(n, h * width, 3, HEADS, c // HEADS)
        y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        y = self.out(y.permute(0, 2, 1, 3).reshape(n, h, width, c))
        return x + y.permute(0, 3, 1, 2)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.time1, self.time2 = nn.Linear(2 * W, EMB), nn.Linear(EMB, EMB)
        self.label = nn.Embedding(w.CLASSES + 1, EMB)
        self.stem, self.down1, self.shrink = conv(4, W), Block(W, W), conv(W, 2 * W, stride=2)
        self.down2, self.mid1 = Block(2 * W, 2 * W), Block(2 * W, 2 * W)
        self.attention, self.mid2 = Attention(2 * W), Block(2 * W, 2 * W)
        self.up2, self.grow = Block(4 * W, 2 * W), conv(2 * W, W)
        self.up1, self.norm, self.head = Block(2 * W, W), nn.GroupNorm(GROUPS, W), conv(W, 4)

    def forward(self, z: Any, t: Any, labels: Any, frequencies: Any) -> Any:
        angle = t[:, None] * 1000 * frequencies
        e = torch.cat([angle.sin(), angle.cos()], 1)
        e = F.silu(self.time2(F.silu(self.time1(e))) + self.label(labels))
        h1 = self.stem(F.pixel_unshuffle(z, 2))
        h2 = self.down1(h1, e)
        h3 = self.down2(self.shrink(h2), e)
        h = self.mid2(self.attention(self.mid1(h3, e)), e)
        h = self.grow(F.interpolate(self.up2(torch.cat([h, h3], 1), e), scale_factor=2.0))
        h = self.up1(torch.cat([h, h2], 1), e)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), 2)


TURNED = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # PyTorch's axes in tinygen's order
BACK = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}


def first_weights(net: nn.Module, dtype: str) -> None:
    """Those that every peer starts from."""
    for name, p in net.named_parameters():
        order = TURNED[p.ndim] if name != "label.weight" else (0, 1)
        array = w.named(name, tuple(p.shape[a] for a in order), dtype)
        back = BACK[p.ndim] if name != "label.weight" else (0, 1)
        p.data = torch.from_numpy(array.transpose(back).copy())


def step_of(load: Workload, adam: Any, wrap: Any, layout: torch.memory_format) -> Any:
    net, dtype = UNet(), getattr(torch, load.dtype)
    first_weights(net, load.dtype)
    net = net.to(memory_format=layout)
    frequencies = torch.from_numpy(w.unet_frequencies().astype(load.dtype))
    lr, betas = load.rates
    optimizer = adam(net.parameters(), lr=lr, betas=betas, eps=w.EPS)

    def loss_of(x: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        e = noise[:, : w.PIXELS].reshape(x.shape)  # one channel: the same in either layout
        t = torch.sigmoid(noise[:, w.PIXELS])
        s = t[:, None, None, None]
        return (net((1 - s) * e + s * x, t, labels, frequencies) - (x - e)).square().mean()

    if wrap is not None:
        loss_of = wrap(loss_of)

    def step(x: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor | None) -> Any:
        if noise is None:
            noise = torch.randn(load.batch, load.latent, dtype=dtype)
        loss = loss_of(x, labels, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return (loss.detach(),)

    return step
