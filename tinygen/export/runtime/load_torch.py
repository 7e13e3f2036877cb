import base64
import hashlib
import json

import torch
from safetensors import safe_open
from torch.nn import functional as F

with safe_open("model.safetensors", framework="pt") as file:
    model, names = json.loads(file.metadata()["tinygen"]), file.keys()
    said = file.metadata()["sha256"]  # of the file, with zeros in its place
    stored = {name: file.get_tensor(name).float() for name in names}

with open("model.safetensors", "rb") as file:
    zeros = file.read().replace(said.encode(), b"0" * 64, 1)
assert hashlib.sha256(zeros).hexdigest() == said, "the file has changed since it was written"

ACTIVATIONS = {
    "": lambda x, slope: x,
    "relu": lambda x, slope: F.relu(x),
    "leaky_relu": lambda x, slope: F.leaky_relu(x, slope),
    "tanh": lambda x, slope: torch.tanh(x),
    "sigmoid": lambda x, slope: torch.sigmoid(x),
    "softplus": lambda x, slope: F.softplus(x),
    "silu": lambda x, slope: F.silu(x),
}


def linear(layer, x, w):
    """x W of rows, or a convolution of images (n, height, width, channels)."""
    x = x.reshape(len(x), *layer["input"])
    if layer["kind"] == "dense":
        return x @ w
    x, steps = x.permute(0, 3, 1, 2), {k: layer[k] for k in ("stride", "dilation")}
    (height, width), (top, left) = layer["output"][:2], layer["before"]
    if layer["kind"] == "conv":
        (kh, kw), (sh, sw), (dh, dw) = layer["kernel"], layer["stride"], layer["dilation"]
        below = (height - 1) * sh + (kh - 1) * dh + 1 - top - x.shape[2]
        right = (width - 1) * sw + (kw - 1) * dw + 1 - left - x.shape[3]
        y = F.conv2d(F.pad(x, (left, right, top, below)), w.permute(3, 2, 0, 1), **steps)
    else:
        y = F.conv_transpose2d(x, w.permute(2, 3, 0, 1), **steps)
        below, right = top + height - y.shape[2], left + width - y.shape[3]
        y = F.pad(y, (-left, right, -top, below))  # a negative padding cuts off
    return y.permute(0, 2, 3, 1)


def forward(part, x, label=0):
    """The "decoder" of codes (n, latent), the "encoder" of flat images (n, pixels)."""
    if model["classes"]:  # the one-hot label beside the input, its 1 written as sqrt(inputs)
        hot = F.one_hot(torch.as_tensor(label).expand(len(x)), len(model["classes"]))
        x = torch.cat([x, hot * x.shape[1] ** 0.5], dim=1)
    for k, layer in enumerate(model["parts"][part]):
        name = f"{part}.{k}"
        w = stored[f"{name}.weight"] * stored.get(f"{name}.scale", 1.0)
        x = linear(layer, x, w) + stored[f"{name}.bias"]
        x = ACTIVATIONS[layer["activation"]](x, layer["slope"])
    return x


low, high = model["range"]
test = {k: bytearray(base64.b64decode(model["test"][k] or "")) for k in ("code", "image", "mean")}
image = torch.frombuffer(test["image"], dtype=torch.uint8).reshape(model["image"])
if "decoder" in model["parts"]:
    code = torch.frombuffer(test["code"], dtype=torch.float32)[None]  # or torch.randn(n, latent)
    drawn = forward("decoder", code, model["test"]["label"]).reshape(-1, *model["image"])
    pixels = ((drawn - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)
    assert (pixels[0].int() - image.int()).abs().max() <= 1, "not the picture that it should be"
if "encoder" in model["parts"]:
    flat = image.reshape(1, -1) / 255 * (high - low) + low
    mean, logvar = forward("encoder", flat, model["test"]["label"]).chunk(2, dim=1)
    expected = torch.frombuffer(test["mean"], dtype=torch.float32)
    assert (mean[0] - expected).abs().max() <= 1e-3, "not the mean code that it should be"
