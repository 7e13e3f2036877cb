import base64
import hashlib
import json

import numpy as np
from safetensors import safe_open

with safe_open("model.safetensors", framework="numpy") as file:
    model, names = json.loads(file.metadata()["tinygen"]), file.keys()
    said = file.metadata()["sha256"]  # of the file, with zeros in its place
    stored = {name: file.get_tensor(name).astype(np.float32) for name in names}

with open("model.safetensors", "rb") as file:
    zeros = file.read().replace(said.encode(), b"0" * 64, 1)
assert hashlib.sha256(zeros).hexdigest() == said, "the file has changed since it was written"

ACTIVATIONS = {
    "": lambda x, slope: x,
    "relu": lambda x, slope: np.maximum(x, 0),
    "leaky_relu": lambda x, slope: np.where(x > 0, x, slope * x),
    "tanh": lambda x, slope: np.tanh(x),
    "sigmoid": lambda x, slope: 0.5 + 0.5 * np.tanh(x / 2),
    "softplus": lambda x, slope: np.logaddexp(x, 0),
    "silu": lambda x, slope: x * (0.5 + 0.5 * np.tanh(x / 2)),
}


def meeting(layer, axis, tap):
    """Output rows (axis 0) or columns (1), and the input rows that they see through a tap."""
    ends = ("output", "input") if layer["kind"] == "conv" else ("input", "output")
    first = np.arange(layer[ends[0]][axis])
    second = first * layer["stride"][axis] + tap * layer["dilation"][axis] - layer["before"][axis]
    inside = (second >= 0) & (second < layer[ends[1]][axis])
    pair = first[inside], second[inside]
    return pair if layer["kind"] == "conv" else pair[::-1]


def linear(layer, x, w):
    """x W of rows, or a convolution of images (n, height, width, channels)."""
    x = x.reshape(len(x), *layer["input"])
    if layer["kind"] == "dense":
        return x @ w
    y = np.zeros((len(x), *layer["output"]), np.float32)
    for a, b in np.ndindex(*layer["kernel"]):
        i, r = meeting(layer, 0, a)
        j, c = meeting(layer, 1, b)
        y[:, i[:, None], j] += x[:, r[:, None], c] @ w[a, b]
    return y


def forward(part, x, label=0):
    """The "decoder" of codes (n, latent), the "encoder" of flat images (n, pixels)."""
    if model["classes"]:  # the one-hot label beside the input, its 1 written as sqrt(inputs)
        hot = np.zeros((len(x), len(model["classes"])), np.float32)
        hot[np.arange(len(x)), label] = np.sqrt(x.shape[1])
        x = np.concatenate([x, hot], axis=1)
    for k, layer in enumerate(model["parts"][part]):
        name = f"{part}.{k}"
        w = stored[f"{name}.weight"] * stored.get(f"{name}.scale", np.float32(1))
        x = linear(layer, x, w) + stored[f"{name}.bias"]
        x = ACTIVATIONS[layer["activation"]](x, layer["slope"])
    return x


low, high = model["range"]
test = {k: base64.b64decode(model["test"][k] or "") for k in ("code", "image", "mean")}
image = np.frombuffer(test["image"], np.uint8).reshape(model["image"])
if "decoder" in model["parts"]:
    code = np.frombuffer(test["code"], "<f4")[None]  # or rng.standard_normal((n, latent))
    drawn = forward("decoder", code, model["test"]["label"]).reshape(-1, *model["image"])
    pixels = np.rint((drawn - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    assert abs(pixels[0].astype(int) - image).max() <= 1, "not the picture that it should be"
if "encoder" in model["parts"]:
    flat = (image.reshape(1, -1) / 255 * (high - low) + low).astype(np.float32)
    mean, logvar = np.split(forward("encoder", flat, model["test"]["label"]), 2, axis=1)
    assert abs(mean[0] - np.frombuffer(test["mean"], "<f4")).max() <= 1e-3, "not the mean code"
