"""The U-Net of workload.py in tinygen, and its step of flow matching."""

from __future__ import annotations

from typing import Any

import workload as w
from workload import Workload

import tinygen as tg
from tinygen import nn, optim

W, EMB, GROUPS, HEADS = w.UNET_WIDTH, w.UNET_EMBEDDING, w.UNET_GROUPS, w.UNET_HEADS


def conv(a: int, b: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, size, stride=stride, padding=size // 2)


class Block(nn.Module):
    """Two convolutions; time and label scale and shift the second one's norm (AdaGN)."""

    def __init__(self, a: int, b: int) -> None:
        self.norm1, self.conv1 = nn.GroupNormSiLU(GROUPS, a), conv(a, b)
        self.ada = nn.Dense(EMB, 2 * b)
        self.norm2, self.conv2 = nn.GroupNormSiLU(GROUPS, b), conv(b, b)
        self.skip = conv(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: Any, e: Any) -> Any:
        h = self.norm2(self.conv1(self.norm1(x)), self.ada(e))
        return self.skip(x) + self.conv2(h)


class Attention(nn.Module):
    """Every pixel looks at every other, in HEADS ways."""

    def __init__(self, c: int) -> None:
        self.norm, self.qkv, self.out = nn.GroupNorm(GROUPS, c), nn.Dense(c, 3 * c), nn.Dense(c, c)

    def forward(self, x: Any) -> Any:
        n, h, width, c = x.shape
        qkv = self.qkv(self.norm(x).reshape(n, h * width, c))
        return x + self.out(tg.self_attention(qkv, HEADS)).reshape(x.shape)


class UNet(nn.Module):
    def __init__(self) -> None:
        self.time1, self.time2 = nn.Dense(2 * W, EMB), nn.Dense(EMB, EMB)
        self.label = nn.Embedding(w.CLASSES + 1, EMB)
        self.stem, self.down1, self.shrink = conv(4, W), Block(W, W), conv(W, 2 * W, stride=2)
        self.down2, self.mid1 = Block(2 * W, 2 * W), Block(2 * W, 2 * W)
        self.attention, self.mid2 = Attention(2 * W), Block(2 * W, 2 * W)
        self.up2, self.grow = Block(4 * W, 2 * W), conv(2 * W, W)
        self.up1, self.norm, self.head = Block(2 * W, W), nn.GroupNormSiLU(GROUPS, W), conv(W, 4)

    def forward(self, z: Any, t: Any, labels: Any, frequencies: Any) -> Any:
        angle = t.reshape(-1, 1) * 1000.0 * frequencies
        e = tg.concatenate([tg.sin(angle), tg.cos(angle)], axis=1)
        e = tg.silu(self.time2(tg.silu(self.time1(e))) + self.label(labels))
        h1 = self.stem(tg.space_to_depth(z, 2))
        h2 = self.down1(h1, e)
        h3 = self.down2(self.shrink(h2), e)
        h = self.mid2(self.attention(self.mid1(h3, e)), e)
        h = self.up2(tg.concatenate([h, h3], axis=3), e)
        h = self.up1(tg.concatenate([self.grow(tg.upsample2d(h, 2)), h2], axis=3), e)
        return tg.depth_to_space(self.head(self.norm(h)), 2)


def step_of(load: Workload, rng: tg.random.Generator) -> Any:
    """(images, labels, noise or None) -> (loss,): the velocity from noise to image, learned."""
    net = UNet()
    weights = {n: w.named(n, p.shape, load.dtype) for n, p in net.state_dict().items()}
    for module_path, array in weights.items():
        *path, last = module_path.split(".")
        module: Any = net
        for name in path:
            module = getattr(module, name)
        setattr(module, last, nn.Parameter(array))
    frequencies = tg.tensor(w.unet_frequencies().astype(load.dtype))
    lr, betas = load.rates
    optimizer = optim.Adam(net.parameters(), lr=lr, betas=betas, eps=w.EPS)

    def step(x: tg.Tensor, labels: tg.Tensor, noise: tg.Tensor | None) -> Any:
        if noise is None:
            noise = rng.normal((load.batch, load.latent), load.dtype)
        e = noise[:, : w.PIXELS].reshape(*x.shape)
        t = tg.sigmoid(noise[:, w.PIXELS])
        s = t.reshape(-1, 1, 1, 1)
        v = net((1.0 - s) * e + s * x, t, labels, frequencies)
        loss = tg.square(v - (x - e)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return (loss.detach(),)

    return step
