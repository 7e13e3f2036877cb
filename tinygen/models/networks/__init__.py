"""Networks of images: layers and sizes, no loss; methods are in the folder above.

A method says in a protocol what it needs, `Coder` or `Players`; a row of zoo.py names the networks
that it gets. Networks declare their options as models do, in a class Options of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ... import nn
from ...random import Generator

Shape = tuple[int, int, int]  # height, width, channels of one image


@dataclass(frozen=True)
class Ends:
    """What networks are between.

    Attributes:
        model: its name, for messages.
        shape: (H, W, C) of an image.
        latent: length of a code, 0 where there is none.
        classes: of the label beside a code or an image, 0 for none.
        rng: what weights are drawn from.
        masks: what dropout is drawn from.
    """

    model: str
    shape: Shape
    latent: int
    classes: int
    rng: Generator
    masks: Generator

    @property
    def pixels(self) -> int:
        """How many numbers an image has."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def seen(self) -> int:
        """The length of a code with the label beside it."""
        return self.latent + self.classes


class Coder(Protocol):
    """From images to features, and from codes to images."""

    @staticmethod
    def encoder(ends: Ends, options: Any) -> tuple[nn.Sequential, int]:
        """From flat images, with the label beside them, to features; and how many those are."""

    @staticmethod
    def decoder(ends: Ends, options: Any) -> nn.Sequential:
        """From codes, with the label beside them, to logits (B, H, W, C)."""


class Players(Protocol):
    """A generator of images, and a discriminator that judges them."""

    @staticmethod
    def generator(ends: Ends, options: Any) -> nn.Sequential:
        """From codes, with the label beside them, to images (B, H, W, C) in [-1, 1]."""

    @staticmethod
    def discriminator(ends: Ends, options: Any) -> nn.Module:
        """Logits (B, 1) of images (B, H, W, C) and, where there are classes, one-hot labels."""


def channels(width: float, *full: int) -> tuple[int, ...]:
    """The channels of a network whose width is scaled, at least 1 each."""
    return tuple(max(1, round(n * width)) for n in full)
