import base64
import hashlib
import json

import torch
from safetensors import safe_open
from torch.nn import functional as F

with safe_open("model.safetensors", framework="pt") as file:
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
    return values.long() if about["kind"] == "int32" else values.float()


def along(op, x):
    """The axes of x that an operation works along."""
    axis = op["axis"]
    return list(range(x.ndim)) if axis is None else axis if isinstance(axis, list) else [axis]


# for conv2d_nd conv2d_dx
def convolve(op, shape, x, w):
    """Images (n, height, width, channels); w (rows, columns, inputs of a group, outputs)."""
    x, more = x.permute(0, 3, 1, 2), {k: op[k] for k in ("stride", "dilation", "groups")}
    (_, height, width, _), (top, left) = shape, op["before"]
    if op["op"] == "conv2d_nd":
        (kh, kw), (sh, sw), (dh, dw) = w.shape[:2], op["stride"], op["dilation"]
        below = (height - 1) * sh + (kh - 1) * dh + 1 - top - x.shape[2]
        right = (width - 1) * sw + (kw - 1) * dw + 1 - left - x.shape[3]
        y = F.conv2d(F.pad(x, (left, right, top, below)), w.permute(3, 2, 0, 1), **more)
    else:
        w = w.unflatten(3, (op["groups"], -1)).permute(3, 2, 4, 0, 1).flatten(0, 1)
        y = F.conv_transpose2d(x, w, **more)
        below, right = top + height - y.shape[2], left + width - y.shape[3]
        y = F.pad(y, (-left, right, -top, below))  # a negative padding cuts off
    return y.permute(0, 2, 3, 1)


# end
# for softmax log_softmax
def shares(op, x):
    """e^x of each over the sum of all, along some axes."""
    powers = torch.exp(x - x.amax(along(op, x), keepdim=True))
    return powers / powers.sum(along(op, x), keepdim=True)


# end
# for slice
def cut(op, x):
    for axis, part in enumerate(op["parts"]):
        x = x.index_select(axis, torch.tensor(range(*part)))
    return x


# end
# for put
def put(op, x, value, i):
    y = x.clone()
    y.select(op["axis"], int(i)).copy_(torch.as_tensor(value))
    return y


# end
# for take
def take(op, x, i):
    i, axis = torch.as_tensor(i), op["axis"]
    some = x.index_select(axis, i.reshape(-1))
    return some.reshape(*x.shape[:axis], *i.shape, *x.shape[axis + 1 :])


# end
# for argsort
def argsort(op, x):
    return x.argsort(dim=op["axis"], descending=op["descending"], stable=True)


# end
# for take_along_axis
def beside(op, x, i):
    return torch.as_tensor(x).gather(op["axis"], i.remainder(x.shape[op["axis"]]))


# end
# An operation's row takes what it is, the sizes of its result, and its arguments.
ROWS = {
    "abs": lambda op, shape, x: x.abs(),
    "add": lambda op, shape, x, y: x + y,
    "all": lambda op, shape, x: x.bool().int().amin(along(op, x)).bool().reshape(shape),
    "any": lambda op, shape, x: x.bool().int().amax(along(op, x)).bool().reshape(shape),
    "argmax": lambda op, shape, x: x.argmax(dim=op["axis"]).reshape(shape),
    "argsort": lambda op, shape, x: argsort(op, x),
    "broadcast_to": lambda op, shape, x: torch.broadcast_to(torch.as_tensor(x), shape),
    "cast": lambda op, shape, x: x.to(getattr(torch, op["dtype"])),
    "clip": lambda op, shape, x: x.clamp(op["low"], op["high"]),
    "concat": lambda op, shape, *args: torch.cat(args, dim=op["axis"]),
    "conv2d_dx": lambda op, shape, x, w: convolve(op, shape, x, w),
    "conv2d_nd": lambda op, shape, x, w: convolve(op, shape, x, w),
    "cos": lambda op, shape, x: x.cos(),
    "cumsum": lambda op, shape, x: x.cumsum(dim=op["axis"]),
    "div": lambda op, shape, x, y: x / y,
    "equal": lambda op, shape, x, y: x == y,
    "erf": lambda op, shape, x: x.erf(),
    "exp": lambda op, shape, x: x.exp(),
    "floor": lambda op, shape, x: x.floor(),
    "floor_divide": lambda op, shape, x, y: torch.as_tensor(x).floor_divide(torch.as_tensor(y)),
    "greater": lambda op, shape, x, y: x > y,
    "greater_equal": lambda op, shape, x, y: x >= y,
    "leaky_relu": lambda op, shape, x: F.leaky_relu(x, op["slope"]),
    "less": lambda op, shape, x, y: x < y,
    "less_equal": lambda op, shape, x, y: x <= y,
    "log": lambda op, shape, x: x.log(),
    "log_softmax": lambda op, shape, x: shares(op, x).log(),
    "mask_and": lambda op, shape, x, y: x.logical_and(torch.as_tensor(y)),
    "mask_or": lambda op, shape, x, y: x.logical_or(torch.as_tensor(y)),
    "matmul_nd": lambda op, shape, x, y: x @ y,
    "max": lambda op, shape, x: x.amax(along(op, x)).reshape(shape),
    "maximum": lambda op, shape, x, y: torch.maximum(torch.as_tensor(x), torch.as_tensor(y)),
    "mean": lambda op, shape, x: x.mean(along(op, x)).reshape(shape),
    "min": lambda op, shape, x: x.amin(along(op, x)).reshape(shape),
    "minimum": lambda op, shape, x, y: torch.minimum(torch.as_tensor(x), torch.as_tensor(y)),
    "mul": lambda op, shape, x, y: x * y,
    "not_equal": lambda op, shape, x, y: x != y,
    "one_hot": lambda op, shape, x: F.one_hot(x, op["classes"]).float(),
    "put": lambda op, shape, x, value, i: put(op, x, value, i),
    "relu": lambda op, shape, x: x.relu(),
    "remainder": lambda op, shape, x, y: torch.as_tensor(x).remainder(torch.as_tensor(y)),
    "reshape": lambda op, shape, x: x.reshape(shape),
    "round": lambda op, shape, x: x.round(),
    "sigmoid": lambda op, shape, x: x.sigmoid(),
    "sin": lambda op, shape, x: x.sin(),
    "slice": lambda op, shape, x: cut(op, x),
    "softmax": lambda op, shape, x: shares(op, x),
    "softplus": lambda op, shape, x: F.softplus(x),
    "sqrt": lambda op, shape, x: x.sqrt(),
    "sub": lambda op, shape, x, y: x - y,
    "sum": lambda op, shape, x: x.sum(along(op, x)).reshape(shape),
    "take": lambda op, shape, x, i: take(op, x, i),
    "take_along_axis": lambda op, shape, x, i: beside(op, x, torch.as_tensor(i)),
    "tanh": lambda op, shape, x: x.tanh(),
    "transpose": lambda op, shape, x: x.permute(op["axes"]),
    "where": lambda op, shape, x, y, z: torch.where(x.bool(), y, z),
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
                known.update(zip(op["body"]["inputs"], [torch.tensor(i), *args]))
                run(op["body"]["operations"], known, n)
                args = [known[k] for k in op["body"]["outputs"]]
            known.update(zip(op["outs"], args))
        else:
            if "parts" in op:
                op = {**op, "parts": [[sized(k, n) for k in part] for part in op["parts"]]}
            shape = [sized(k, n) for k in op["shape"]]
            known[op["outs"][0]] = ROWS[op["op"]](op, shape, *args)


def forward(part, x, label=0, **settings):
    """What "draw" gives of codes (n, latent), "encode" of flat images (n, pixels)."""
    graph, n = model["parts"][part], len(x)
    sizes = [sized(k, n) for k in graph["inputs"][0]["shape"]]
    inputs = [x.reshape(sizes), torch.as_tensor(label).expand(n)][: 2 if model["classes"] else 1]
    for about in model["settings"] if part == "draw" else []:
        value = settings.get(about["name"], about["default"])
        inputs.append(torch.tensor(value, dtype=torch.int64 if about["whole"] else torch.float32))
    known = dict(enumerate(inputs + [constant(about) for about in graph["constants"]]))
    run(graph["operations"], known, n)
    return known[graph["outputs"][0]]


low, high = model["range"]
test = {k: bytearray(base64.b64decode(model["test"][k] or "")) for k in ("code", "image", "mean")}
image = torch.frombuffer(test["image"], dtype=torch.uint8).reshape(model["image"])
if "draw" in model["parts"]:
    code = torch.frombuffer(test["code"], dtype=torch.float32)[None]  # or torch.randn(n, latent)
    drawn = forward("draw", code, model["test"]["label"])
    pixels = ((drawn - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)
    assert (pixels[0].int() - image.int()).abs().max() <= 1, "not the picture that it should be"
if "encode" in model["parts"]:
    flat = image.reshape(1, -1) / 255 * (high - low) + low
    mean, logvar = forward("encode", flat, model["test"]["label"]).chunk(2, dim=1)
    expected = torch.frombuffer(test["mean"], dtype=torch.float32)
    assert (mean[0] - expected).abs().max() <= 1e-3, "not the mean code that it should be"
