"""A training step in PyTorch. Variants: "" is eager, "compile" is torch.compile (inductor; on a
GPU in the mode reduce-overhead), "fused" is eager with Adam(fused=True), "graph" captures the whole
step as a CUDA graph, "nchw" keeps PyTorch's own layout of images, which is else channels_last;
several are joined with a comma."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch_dcgan
import torch_unet
import workload as w
from torch import nn
from torch.nn import functional as F
from worker import Peer, serve
from workload import Workload


def dense(layers: w.Layers, between: Any, last: list[nn.Module] | None = None) -> nn.Sequential:
    """Linear layers with the given weights, each but the last followed by `between()`."""
    modules: list[nn.Module] = []
    for i, (weight, bias) in enumerate(layers):
        linear = nn.Linear(*weight.shape, dtype=getattr(torch, str(weight.dtype)))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, *(between() if i < len(layers) - 1 else last or [])]
    return nn.Sequential(*modules)


def condition(x: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    if not classes:
        return x
    code = F.one_hot(labels, classes).to(x.dtype) * x.shape[1] ** 0.5
    return torch.cat([x, code], dim=1)


def dense_networks(load: Workload) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of the dense GANs."""
    weights = load.weights()
    D = dense(weights["discriminator"], lambda: [nn.LeakyReLU(w.SLOPE), nn.Dropout(load.dropout)])
    return dense(weights["generator"], lambda: [nn.ReLU()], [nn.Tanh()]), D


def layout(load: Workload) -> torch.memory_format:
    return torch.contiguous_format if "nchw" in load.variant else torch.channels_last


def gan(load: Workload, adam: Any, wrap: Any) -> Any:
    dtype, (lr, betas) = getattr(torch, load.dtype), load.rates
    if load.model == "dcgan":
        G, D = torch_dcgan.networks(load, layout(load))
    else:
        G, D = dense_networks(load)
    options = {"lr": lr, "betas": betas, "eps": w.EPS}
    d_opt, g_opt = adam(D.parameters(), **options), adam(G.parameters(), **options)
    classes = load.classes
    if wrap is not None:
        G, D = wrap(G), wrap(D)

    def bce(logits: torch.Tensor, target: float) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def step(x: torch.Tensor, labels: torch.Tensor, z: torch.Tensor | None) -> Any:
        if z is None:
            z = torch.randn(load.batch, load.latent, dtype=dtype, device=x.device)
        fake = G(condition(z, labels, classes))
        d_loss = bce(D(condition(x, labels, classes)), 1.0)
        d_loss = d_loss + bce(D(condition(fake.detach(), labels, classes)), 0.0)
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        g_loss = bce(D(condition(fake, labels, classes)), 1.0)
        g_opt.zero_grad()
        g_loss.backward()
        g_opt.step()
        return d_loss.detach(), g_loss.detach()

    return step


def vae(load: Workload, adam: Any, wrap: Any) -> Any:
    weights = load.weights()
    encoder = dense(weights["encoder"], list, [nn.ReLU()])
    to_mu, to_logvar = dense(weights["mu"], list), dense(weights["logvar"], list)
    decoder = dense(weights["decoder"], lambda: [nn.ReLU()])
    parts = nn.ModuleList([encoder, to_mu, to_logvar, decoder])
    optimizer = adam(parts.parameters(), lr=w.VAE_LR, betas=w.VAE_BETAS, eps=w.EPS)

    def loss_of(x: torch.Tensor, eps: torch.Tensor | None) -> torch.Tensor:
        h = encoder(x)
        mu, logvar = to_mu(h), to_logvar(h)
        if eps is None:
            eps = torch.randn_like(mu)
        logits = decoder(mu + torch.exp(0.5 * logvar) * eps)
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()
        return (nll + kl) / load.batch

    if wrap is not None:
        loss_of = wrap(loss_of)

    def step(x: torch.Tensor, labels: torch.Tensor, eps: torch.Tensor | None) -> Any:
        loss = loss_of(x, eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return (loss.detach(),)

    return step


def tensor(array: Any) -> torch.Tensor:
    """On the default device."""
    return torch.from_numpy(array).to(torch.get_default_device())


def images(x: torch.Tensor) -> torch.Tensor:
    """(n, h, w, c) as PyTorch sees it, (n, c, h, w), in the same memory; rows as they are."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def captured(raw: Any, batch: Any) -> Any:
    """The whole step as one CUDA graph, with a batch of its own that each call fills."""
    own = [t.clone() for t in batch]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            raw(*own, None)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = raw(*own, None)

    def step(batch: Any, noise: Any) -> Any:
        for mine, given in zip(own, batch, strict=True):
            mine.copy_(given)
        graph.replay()
        return losses

    return step


def build(load: Workload) -> Peer:
    torch.manual_seed(0)

    gpu = load.device == "gpu"
    torch.set_default_device("cuda" if gpu else "cpu")

    def adam(*args: Any, **kwargs: Any) -> torch.optim.Adam:
        fused, graph = "fused" in load.variant or None, "graph" in load.variant
        return torch.optim.Adam(*args, fused=fused, capturable=graph, **kwargs)

    def make(wrap: Any) -> Any:
        if load.model == "unet":
            raw = torch_unet.step_of(load, adam, wrap, layout(load))
        else:
            raw = (vae if load.model == "vae" else gan)(load, adam, wrap)
        if "graph" in load.variant:
            return captured(raw, batches[0])
        if gpu:
            return lambda batch, noise: raw(*batch, noise)

        def step(batch: Any, noise: torch.Tensor | None) -> tuple[float, ...]:
            return tuple(loss.item() for loss in raw(*batch, noise))

        return step

    def wrap_for_gpu(f: Any) -> Any:
        return torch.compile(f, mode="reduce-overhead")

    compiling = wrap_for_gpu if gpu else torch.compile
    wrap = compiling if "compile" in load.variant else None
    batches = [(images(tensor(x)), tensor(y)) for x, y in load.batches()]

    def memory() -> int | None:
        """Peak of what the allocator gave out, from before the weights to after two steps."""
        options: dict[str, Any] = {"activities": [torch.profiler.ProfilerActivity.CPU]}
        with torch.profiler.profile(profile_memory=True, **options) as profile:
            own = [tuple(t.clone() for t in batches[0])]
            step = make(wrap)
            for _ in range(2):
                step(own[0], None)
        found = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
        found.sort(key=lambda e: e.start_ns())  # one an allocation, and one below 0 a release
        return max(itertools.accumulate(e.nbytes() for e in found), default=None)

    def about() -> dict[str, Any]:
        ways = ["inductor" if "compile" in load.variant else "eager"]
        ways += ["Adam(fused=True)"] if "fused" in load.variant else []
        if load.model == "dcgan":
            ways.append("NCHW" if "nchw" in load.variant else "channels_last")
        return {
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "variant": ", ".join(ways),
        }

    return Peer(make(wrap), batches, tensor, memory if not gpu else lambda: None, about=about)


if __name__ == "__main__":
    serve(build)
