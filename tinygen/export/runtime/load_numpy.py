import base64
import hashlib
import json
import math

import numpy as np
from safetensors import safe_open

with safe_open("model.safetensors", framework="numpy") as file:
    model, names = json.loads(file.metadata()["tinygen"]), file.keys()
    said = file.metadata()["sha256"]  # of the file, with zeros in its place
    stored = {name: file.get_tensor(name) for name in names}

with open("model.safetensors", "rb") as file:
    zeros = file.read().replace(said.encode(), b"0" * 64, 1)
assert hashlib.sha256(zeros).hexdigest() == said, "the file has changed since it was written"


def constant(about):
    """A constant of the graph; of int8, what the integers of each output count is beside it."""
    if "value" in about:
        return about["value"]
    values = stored[about["name"]]
    if about["kind"] == "int8":
        values = values * stored[about["name"].replace(".weight", ".scale")]
    return values if about["kind"] == "int32" else values.astype(np.float32)


def along(op, x):
    """The axes of x that an operation works along."""
    axis = op["axis"]
    return tuple(range(x.ndim)) if axis is None else tuple(np.atleast_1d(axis).tolist())


# for conv2d_nd conv2d_dx
def meeting(op, axis, tap, inputs, outputs):
    """Output rows (axis 0) or columns (1), and the input rows that they see through a tap."""
    ends = (outputs, inputs) if op["op"] == "conv2d_nd" else (inputs, outputs)
    first = np.arange(ends[0])
    second = first * op["stride"][axis] + tap * op["dilation"][axis] - op["before"][axis]
    inside = (second >= 0) & (second < ends[1])
    pair = first[inside], second[inside]
    return pair if op["op"] == "conv2d_nd" else pair[::-1]


def convolve(op, shape, x, w):
    """Images (n, height, width, channels); w (rows, columns, inputs of a group, outputs)."""
    y, groups = np.zeros(shape, np.float32), op["groups"]
    inputs, outputs = w.shape[2], w.shape[3] // groups
    for a, b in np.ndindex(*w.shape[:2]):
        i, r = meeting(op, 0, a, x.shape[1], shape[1])
        j, c = meeting(op, 1, b, x.shape[2], shape[2])
        seen = x[:, r[:, None], c]
        for g in range(groups):
            into, part = slice(g * outputs, (g + 1) * outputs), slice(g * inputs, (g + 1) * inputs)
            y[:, i[:, None], j, into] += seen[..., part] @ w[a, b, :, into]
    return y


# end
# for softmax log_softmax
def shares(op, x):
    """e^x of each over the sum of all, along some axes."""
    powers = np.exp(x - x.max(axis=along(op, x), keepdims=True))
    return powers / powers.sum(axis=along(op, x), keepdims=True)


# end
# for argsort
def argsort(op, x):
    return np.argsort(-x if op["descending"] else x, axis=op["axis"], kind="stable")


# end
# for slice
def cut(op, x):
    for axis, part in enumerate(op["parts"]):
        x = np.take(x, range(*part), axis=axis)
    return x


# end
# for put
def put(op, x, value, i):
    y = x.copy()
    np.moveaxis(y, op["axis"], 0)[int(i)] = value
    return y


# end
# An operation's row takes what it is, the sizes of its result, and its arguments.
ROWS = {
    "abs": lambda op, shape, x: np.abs(x),
    "add": lambda op, shape, x, y: x + y,
    "all": lambda op, shape, x: x.all(axis=along(op, x)).reshape(shape),
    "any": lambda op, shape, x: x.any(axis=along(op, x)).reshape(shape),
    "argmax": lambda op, shape, x: x.argmax(axis=op["axis"]).reshape(shape),
    "argsort": lambda op, shape, x: argsort(op, x),
    "broadcast_to": lambda op, shape, x: np.broadcast_to(x, shape),
    "cast": lambda op, shape, x: x.astype(op["dtype"]),
    "clip": lambda op, shape, x: np.clip(x, op["low"], op["high"]),
    "concat": lambda op, shape, *args: np.concatenate(args, axis=op["axis"]),
    "conv2d_dx": lambda op, shape, x, w: convolve(op, shape, x, w),
    "conv2d_nd": lambda op, shape, x, w: convolve(op, shape, x, w),
    "cos": lambda op, shape, x: np.cos(x),
    "cumsum": lambda op, shape, x: x.cumsum(axis=op["axis"]),
    "div": lambda op, shape, x, y: x / y,
    "equal": lambda op, shape, x, y: x == y,
    "erf": lambda op, shape, x: np.vectorize(math.erf, otypes=[np.float32])(x),
    "exp": lambda op, shape, x: np.exp(x),
    "floor": lambda op, shape, x: np.floor(x),
    "floor_divide": lambda op, shape, x, y: x // y,
    "greater": lambda op, shape, x, y: x > y,
    "greater_equal": lambda op, shape, x, y: x >= y,
    "leaky_relu": lambda op, shape, x: np.where(x > 0, x, op["slope"] * x),
    "less": lambda op, shape, x, y: x < y,
    "less_equal": lambda op, shape, x, y: x <= y,
    "log": lambda op, shape, x: np.log(x),
    "log_softmax": lambda op, shape, x: np.log(shares(op, x)),
    "mask_and": lambda op, shape, x, y: np.logical_and(x, y),
    "mask_or": lambda op, shape, x, y: np.logical_or(x, y),
    "matmul_nd": lambda op, shape, x, y: x @ y,
    "max": lambda op, shape, x: x.max(axis=along(op, x)).reshape(shape),
    "maximum": lambda op, shape, x, y: np.maximum(x, y),
    "mean": lambda op, shape, x: x.mean(axis=along(op, x)).reshape(shape),
    "min": lambda op, shape, x: x.min(axis=along(op, x)).reshape(shape),
    "minimum": lambda op, shape, x, y: np.minimum(x, y),
    "mul": lambda op, shape, x, y: x * y,
    "not_equal": lambda op, shape, x, y: x != y,
    "one_hot": lambda op, shape, x: np.eye(op["classes"], dtype=np.float32)[x],
    "put": lambda op, shape, x, value, i: put(op, x, value, i),
    "relu": lambda op, shape, x: np.maximum(x, 0),
    "remainder": lambda op, shape, x, y: x % y,
    "reshape": lambda op, shape, x: x.reshape(shape),
    "round": lambda op, shape, x: np.rint(x),
    "sigmoid": lambda op, shape, x: 0.5 + 0.5 * np.tanh(x / 2),
    "sin": lambda op, shape, x: np.sin(x),
    "slice": lambda op, shape, x: cut(op, x),
    "softmax": lambda op, shape, x: shares(op, x),
    "softplus": lambda op, shape, x: np.logaddexp(x, 0),
    "sqrt": lambda op, shape, x: np.sqrt(x),
    "sub": lambda op, shape, x, y: x - y,
    "sum": lambda op, shape, x: x.sum(axis=along(op, x)).reshape(shape),
    "take": lambda op, shape, x, i: np.take(x, i, axis=op["axis"]),
    "take_along_axis": lambda op, shape, x, i: np.take_along_axis(x, i, op["axis"]),
    "tanh": lambda op, shape, x: np.tanh(x),
    "transpose": lambda op, shape, x: x.transpose(op["axes"]),
    "where": lambda op, shape, x, y, z: np.where(x, y, z),
}


def sized(size, n):
    """A size for n images: a number, or [a, b] for a n + b."""
    return size if isinstance(size, int) else size[0] * n + size[1]


def run(operations, known, n):
    """Add what the operations give, for n images, to the arrays that are known by number."""
    for op in operations:
        args = [None if k is None else known[k] for k in op["args"]]
        if op["op"] == "repeat":
            turns = op["n"]
            if isinstance(turns, list):  # [k, a, b]: a m + b for the number m of array k
                turns = turns[1] * int(known[turns[0]]) + turns[2]
            for i in range(turns):
                known.update(zip(op["body"]["inputs"], [np.array(i), *args]))
                run(op["body"]["operations"], known, n)
                args = [known[k] for k in op["body"]["outputs"]]
            known.update(zip(op["outs"], args))
        else:
            if "parts" in op:
                op = {**op, "parts": [[sized(k, n) for k in part] for part in op["parts"]]}
            shape = [sized(k, n) for k in op["shape"]]
            known[op["outs"][0]] = ROWS[op["op"]](op, shape, *args)


def trace(part, x, label=0, **settings):
    """What each operation gives, and the result, for codes or images of n rows."""
    graph, n = model["parts"][part], len(x)
    sizes = [sized(k, n) for k in graph["inputs"][0]["shape"]]
    inputs = [np.reshape(x, sizes), np.broadcast_to(label, n)][: 2 if model["classes"] else 1]
    for about in model["settings"] if part == "draw" else []:
        value = settings.get(about["name"], about["default"])
        inputs.append(np.array(value, np.int64 if about["whole"] else np.float32))
    known = dict(enumerate(inputs + [constant(about) for about in graph["constants"]]))
    run(graph["operations"], known, n)
    each = [op["outs"][0] for op in graph["operations"]]
    return [known[k] for k in (*each, *graph["outputs"])]


def forward(part, x, label=0, **settings):
    """What "draw" gives of codes (n, latent), "encode" of flat images (n, pixels)."""
    return trace(part, x, label, **settings)[-1]


low, high = model["range"]
test = {k: base64.b64decode(model["test"][k] or "") for k in ("code", "image", "mean")}
image = np.frombuffer(test["image"], np.uint8).reshape(model["image"])
if "draw" in model["parts"]:
    code = np.frombuffer(test["code"], "<f4")[None]  # or rng.standard_normal((n, latent))
    drawn = forward("draw", code, model["test"]["label"])
    pixels = np.rint((drawn - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    assert abs(pixels[0].astype(int) - image).max() <= 1, "not the picture that it should be"
if "encode" in model["parts"]:
    flat = (image.reshape(1, -1) / 255 * (high - low) + low).astype(np.float32)
    mean, logvar = np.split(forward("encode", flat, model["test"]["label"]), 2, axis=1)
    assert abs(mean[0] - np.frombuffer(test["mean"], "<f4")).max() <= 1e-3, "not the mean code"
