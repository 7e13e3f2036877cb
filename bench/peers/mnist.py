"""What the scripts of epoch.py share: reading IDX files, drawing a grid, the command line."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np

BATCH, EVALUATED, DRAWN = 128, 500, 64  # images a step, a batch of the evaluation, in the picture


def images(folder: Path, split: str) -> np.ndarray:
    """Images (n, 784) uint8 of "train" or "t10k", from a gzipped file or a plain one."""
    for name in (f"{split}-images-idx3-ubyte", f"{split}-images.idx3-ubyte"):
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                blob = path.read_bytes()
                blob = gzip.decompress(blob) if path.suffix == ".gz" else blob
                return np.frombuffer(blob, np.uint8, offset=16).reshape(-1, 784)
    raise FileNotFoundError(f"{folder}: no {split}-images-idx3-ubyte or its .gz")


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Bytes as float32 in [0, 1]."""
    return pixels.astype(np.float32) / 255


def draw(path: Path, pixels: np.ndarray, columns: int = 8) -> None:
    """Write images (n, 784) in [0, 1] as a grid: PNG where pillow is installed, else PGM."""
    levels = np.rint(255 * pixels.clip(0, 1)).astype(np.uint8).reshape(-1, columns, 28, 28)
    grid = levels.transpose(0, 2, 1, 3).reshape(-1, 28 * columns)
    try:
        from PIL import Image
    except ImportError:
        head = f"P5 {grid.shape[1]} {grid.shape[0]} 255\n".encode()
        path.with_suffix(".pgm").write_bytes(head + grid.tobytes())
    else:
        Image.fromarray(grid).save(path.with_suffix(".png"))


def arguments(ways: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a VAE 784-400-20 on MNIST.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="the picture of samples")
    parser.add_argument("--way", choices=ways, default=ways[0])
    return parser.parse_args()
