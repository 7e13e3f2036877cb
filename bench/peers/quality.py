"""What the trainings of dcgan_quality.py share: their settings, and the files they leave."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# What both sides do alike; the names are those of tinygen's DCGAN and fit.
SETTINGS: dict[str, tuple[Any, str]] = {
    "epochs": (10, "passes over the training set"),
    "batch_size": (64, "images a step"),
    "lr": (5e-4, "learning rate of the generator"),
    "d_lr": (2e-3, "of the discriminator"),
    "beta1": (0.5, "of Adam"),
    "beta2": (0.999, "of Adam"),
    "width": (0.5, "what the channels are multiplied by"),
    "dropout": (0.0, "of the discriminator"),
    "r1": (1.0, "weight of the penalty on the discriminator's slope, on a quarter of a batch"),
    "ema": (0.999, "decay of the average of the generator, which draws; 0 for none"),
    "images": (10_000, "how many images are drawn at the end"),
}


def add_settings(parser: argparse.ArgumentParser) -> None:
    for name, (value, words) in SETTINGS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(value), default=value, help=f"{words} (%(default)s)")


def arguments() -> argparse.Namespace:
    """The command line of one training."""
    parser = argparse.ArgumentParser(description="Train a DCGAN on MNIST, and draw images.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    add_settings(parser)
    return parser.parse_args()


def to_bytes(x: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as uint8."""
    return np.rint(127.5 * (x + 1)).clip(0, 255).astype(np.uint8)


def finish(
    folder: Path, images: np.ndarray, weights: Mapping[str, np.ndarray], about: dict[str, Any]
) -> None:
    """Write images.npz, "images" (n, 28, 28, 1) uint8, and weights.npz; print `about` as JSON.

    The weights have tinygen's names and shapes, and are those that drew the images:
    models.DCGAN(...).load_state_dict takes them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in (("images", {"images": images}), ("weights", dict(weights))):
        part = folder / f"{name}.part.npz"
        np.savez(part, **arrays)
        part.replace(folder / f"{name}.npz")
    sys.stdout.write(json.dumps(about) + "\n")
