"""Names that other libraries use, and what stands for them here.

Asking a tensor, a module, tinygen itself or one of its parts for a name of the field that is spelt
otherwise here raises an error that says how: `x.view` names reshape, `sum(dim=1)` names axis. The
names cost nothing where nobody asks for them. The last table goes the other way, from what
operations are made of to what a person called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_IN_PLACE = "a tensor is not changed in place: give the result a name, x = x + 1"
_OPERATOR = "use the operator"
_NOT_NEEDED = "leave it out: a tensor is not changed in place, so x itself will do"
_GENERATOR = "use a generator: rng = tg.random.Generator(0); rng"
_FROM_NUMPY = "make it with NumPy: tg.tensor(np"
_DTYPE = "dtypes are named by strings, as in x.astype"

# An attribute of a tensor -> what to write.
TENSOR = {
    "view": "x.reshape(2, 3)", "view_as": "x.reshape(y.shape)", "reshape_as": "x.reshape(y.shape)",
    "flatten": "x.reshape(-1), or x.reshape(len(x), -1) to keep the batch",
    "ravel": "x.reshape(-1)", "resize": "x.reshape(2, 3)",
    "permute": "x.transpose(0, 2, 3, 1)", "t": "x.T", "mT": "x.swapaxes(-1, -2)",
    "movedim": "x.transpose(0, 2, 3, 1)", "moveaxis": "x.transpose(0, 2, 3, 1)",
    "unsqueeze": "x.expand_dims(0)", "expand": "x.broadcast_to((2, 3))",
    "expand_as": "x.broadcast_to(y.shape)", "repeat": "x.broadcast_to or tg.concatenate([x, x])",
    "tile": "tg.concatenate([x, x])", "contiguous": _NOT_NEEDED, "clone": _NOT_NEEDED,
    "dim": "x.ndim", "numel": "x.size", "nelement": "x.size", "get_shape": "x.shape",
    "float": "x.astype('float32')", "double": "x.astype('float64')",
    "long": "x.astype('int64')", "int": "x.astype('int32')", "bool": "x != 0",
    "half": "x.astype('float32'); floats are float32 or float64", "type": "x.astype('float32')",
    "cuda": "x.to('cupy')", "cpu": "x.to('numpy')", "gpu": "x.to('cupy')", "device": "x.backend",
    "is_cuda": "x.backend.name == 'cupy'", "grad_fn": "x.node", "is_leaf": "x.node.primitive",
    "requires_grad_": "x.requires_grad = True",
    "retain_grad": "tg.grad(loss, [x]), with x an input",
    "gradient": "x.grad", "zero_grad": "x.grad = None", "detach_": "x = x.detach()",
    "assign": _IN_PLACE, "add_": _IN_PLACE, "sub_": _IN_PLACE, "mul_": _IN_PLACE, "div_": _IN_PLACE,
    "copy_": _IN_PLACE, "zero_": _IN_PLACE, "fill_": _IN_PLACE, "clamp_": _IN_PLACE,
    "assign_add": _IN_PLACE, "assign_sub": _IN_PLACE, "fill": "tg.full(x.shape, 1.0)",
    "add": f"{_OPERATOR}: x + y", "sub": f"{_OPERATOR}: x - y", "mul": f"{_OPERATOR}: x * y",
    "div": f"{_OPERATOR}: x / y", "neg": f"{_OPERATOR}: -x", "pow": f"{_OPERATOR}: x ** 2",
    "subtract": f"{_OPERATOR}: x - y", "multiply": f"{_OPERATOR}: x * y",
    "divide": f"{_OPERATOR}: x / y", "eq": f"{_OPERATOR}: x == y", "ne": f"{_OPERATOR}: x != y",
    "lt": f"{_OPERATOR}: x < y", "le": f"{_OPERATOR}: x <= y", "gt": f"{_OPERATOR}: x > y",
    "ge": f"{_OPERATOR}: x >= y", "matmul": f"{_OPERATOR}: x @ y", "mm": f"{_OPERATOR}: x @ y",
    "bmm": f"{_OPERATOR}: x @ y", "dot": f"{_OPERATOR}: x @ y", "mv": f"{_OPERATOR}: x @ y",
    "clamp": "x.clip(0.0, 1.0)", "rsqrt": "1 / tg.sqrt(x)", "reciprocal": "1 / x",
    "topk": "x.top_k(5)", "rint": "x.round()",
    "argmin": "(-x).argmax()", "amax": "x.max()", "amin": "x.min()",
    "masked_fill": "tg.where(mask, 0.0, x)", "where": "tg.where(condition, x, y)",
    "index_select": "x.take(indices, axis=0)", "nonzero": "x.numpy().nonzero()",
    "gather": "x.take_along_axis(indices, axis=0)", "new_zeros": "tg.zeros((2, 3))",
    "eval": "x.numpy()", "values": "x.numpy()", "fliplr": "x.flip(1)",
}  # fmt: skip

_ORDER = "whose channels are in another order: its help says which"

# A name of tinygen itself -> what to write.
TINYGEN = {
    "array": "tg.tensor([1.0, 2.0])", "asarray": "tg.tensor(a)", "from_numpy": "tg.tensor(a)",
    "as_tensor": "tg.tensor(a)", "constant": "tg.tensor([1.0, 2.0])",
    "convert_to_tensor": "tg.tensor(a)",
    "Variable": "tg.tensor(a, requires_grad=True), or nn.Parameter(a)",
    "Parameter": "tg.nn.Parameter(a)", "FloatTensor": "tg.tensor([1.0, 2.0])",
    "LongTensor": "tg.tensor([1, 2])", "is_tensor": "isinstance(x, tg.Tensor)",
    "randn": f"{_GENERATOR}.normal((2, 3))", "rand": f"{_GENERATOR}.uniform((2, 3))",
    "normal": f"{_GENERATOR}.normal((2, 3))", "randint": f"{_GENERATOR}.integers(10, (2, 3))",
    "randperm": f"{_GENERATOR}.permutation(10)",
    "bernoulli": f"{_GENERATOR}.bernoulli(0.5, (2, 3))",
    "randn_like": f"{_GENERATOR}.normal(x.shape)", "rand_like": f"{_GENERATOR}.uniform(x.shape)",
    "seed": "tg.manual_seed(0)", "set_seed": "tg.manual_seed(0)",
    "empty": "tg.zeros((2, 3))", "zeros_like": "x.zeros_like()", "ones_like": "x.ones_like()",
    "empty_like": "x.zeros_like()", "eye": f"{_FROM_NUMPY}.eye(3))",
    "linspace": f"{_FROM_NUMPY}.linspace(0, 1, 5))",
    "meshgrid": f"{_FROM_NUMPY}.meshgrid(a, b)[0])",
    "tril": f"{_FROM_NUMPY}.tril(a))", "triu": f"{_FROM_NUMPY}.triu(a))",
    "range": "tg.arange(0, 5)", "cat": "tg.concatenate([x, y], axis=0)",
    "concat": "tg.concatenate([x, y], axis=0)", "vstack": "tg.concatenate([x, y], axis=0)",
    "hstack": "tg.concatenate([x, y], axis=1)", "split": "slices: x[:2], x[2:]",
    "chunk": "slices: x[:2], x[2:]", "view": "tg.reshape(x, (2, 3))", "flatten": "x.reshape(-1)",
    "ravel": "x.reshape(-1)", "permute": "tg.transpose(x, (0, 2, 3, 1))",
    "moveaxis": "tg.transpose(x, (0, 2, 3, 1))", "unsqueeze": "tg.expand_dims(x, 0)",
    "tile": "tg.concatenate([x, x])",
    "pixel_shuffle": f"tg.depth_to_space(x, 2), {_ORDER}",
    "pixel_unshuffle": f"tg.space_to_depth(x, 2), {_ORDER}",
    "scaled_dot_product_attention": "tg.attention(q, k, v)",
    "mm": f"{_OPERATOR}: x @ y", "bmm": f"{_OPERATOR}: x @ y", "dot": f"{_OPERATOR}: x @ y",
    "outer": "x.expand_dims(1) * y",
    "subtract": f"{_OPERATOR}: x - y", "multiply": f"{_OPERATOR}: x * y",
    "divide": f"{_OPERATOR}: x / y", "negative": f"{_OPERATOR}: -x", "pow": f"{_OPERATOR}: x ** 2",
    "eq": f"{_OPERATOR}: x == y", "clamp": "tg.clip(x, 0.0, 1.0)",
    "average": "tg.mean(x)", "topk": "tg.top_k(x, 5)", "mod": "x % 2", "fmod": "x % 2",
    "argmin": "tg.argmax(-x)", "amax": "tg.max(x)", "amin": "tg.min(x)",
    "tan": "tg.sin(x) / tg.cos(x)", "log1p": "tg.log(1 + x)", "expm1": "tg.exp(x) - 1",
    "logaddexp": "tg.softplus(x - y) + y", "reduce_sum": "tg.sum(x)", "reduce_mean": "tg.mean(x)",
    "gather": "tg.take_along_axis(x, indices, axis=0)", "rint": "tg.round(x)",
    "absolute": "tg.abs(x)", "swish": "tg.silu(x)", "logsigmoid": "-tg.softplus(-x)",
    "autograd": "tg.grad(loss, inputs), or loss.backward()",
    "GradientTape": "tg.grad(loss, inputs): what is computed from requires_grad=True is recorded",
    "value_and_grad": "y = f(x); tg.grad(y, [x])", "jit": "tg.compile(step)",
    "function": "tg.compile(step)", "enable_grad": "recording is on outside tg.no_grad()",
    "inference_mode": "tg.no_grad()", "stop_gradient": "x.detach()",
    "set_grad_enabled": "tg.no_grad()",
    "float32": f"{_DTYPE}('float32')", "float64": f"{_DTYPE}('float64')",
    "int32": f"{_DTYPE}('int32')", "int64": f"{_DTYPE}('int64')", "long": f"{_DTYPE}('int64')",
    "float": f"{_DTYPE}('float32')", "cuda": "tg.use_backend('cupy')",
    "device": "tg.use_backend('cupy')", "functional": "the functions of tg itself: tg.relu(x)",
    "Dense": "tg.nn.Dense(784, 10)", "Sequential": "tg.nn.Sequential(...)",
    "Module": "tg.nn.Module", "Adam": "tg.optim.Adam(net.parameters())",
    "SGD": "tg.optim.SGD(net.parameters(), lr=0.1)", "Generator": "tg.random.Generator(0)",
    "keras": "tg.nn, tg.optim and tg.train", "utils": "tg.data, tg.optim and tg.images",
}  # fmt: skip

_LOGITS = "no layer of its own: losses.cross_entropy takes logits; for probabilities tg.softmax(x)"

# A name of tinygen.nn -> what to write.
NN = {
    "Linear": "nn.Dense(784, 10)", "Lazy": "nn.Dense(784, 10)", "LazyLinear": "nn.Dense(784, 10)",
    "Conv1d": "nn.Conv2d, with images of height 1", "Conv2D": "nn.Conv2d(1, 8, 3)",
    "Conv2DTranspose": "nn.ConvTranspose2d(8, 1, 4)", "BatchNorm1d": "nn.BatchNorm(64)",
    "BatchNorm2d": "nn.BatchNorm(64)", "BatchNormalization": "nn.BatchNorm(64)",
    "LayerNormalization": "nn.LayerNorm(64)", "InstanceNorm2d": "nn.InstanceNorm(64)",
    "Dropout2d": "nn.Dropout(0.5)", "MaxPooling2D": "nn.MaxPool2d(2)",
    "AvgPool2D": "nn.AvgPool2d(2)", "AveragePooling2D": "nn.AvgPool2d(2)",
    "AdaptiveAvgPool2d": "x.mean(axis=(1, 2))", "GlobalAveragePooling2D": "x.mean(axis=(1, 2))",
    "UpSampling2D": "nn.Upsample(2)", "UpsamplingNearest2d": "nn.Upsample(2)",
    "UpsamplingBilinear2d": "nn.Upsample(2, 'bilinear')", "Unflatten": "nn.Reshape(28, 28, 1)",
    "PixelShuffle": f"nn.DepthToSpace(2), {_ORDER}",
    "PixelUnshuffle": f"nn.SpaceToDepth(2), {_ORDER}",
    "MultiheadAttention": "nn.Attention(64, heads=4)",
    "MultiHeadAttention": "nn.Attention(64, heads=4)",
    "Softmax": _LOGITS, "LogSoftmax": _LOGITS, "Swish": "nn.SiLU()",
    "ModuleList": "a Python list: its layers are found", "ModuleDict": "a Python dict",
    "ParameterList": "a Python list: its parameters are found", "Model": "nn.Module",
    "Layer": "nn.Module", "functional": "the functions of tg itself: tg.relu(x)",
    "spectral_norm": "nn.SpectralNorm(layer)", "utils": "nn.SpectralNorm, optim.clip_grad_norm",
    "CrossEntropyLoss": "losses.cross_entropy(logits, labels)",
    "BCEWithLogitsLoss": "losses.bce_with_logits(logits, targets)",
    "BCELoss": "losses.bce_with_logits(logits, targets), without a sigmoid before it",
    "MSELoss": "losses.mse(prediction, target)", "L1Loss": "losses.l1(prediction, target)",
    "NLLLoss": "losses.cross_entropy(logits, labels), without a softmax before it",
    "KLDivLoss": "losses.gaussian_kl(mu, logvar)",
}  # fmt: skip

# A name of tinygen.optim -> what to write.
OPTIM = {
    "sgd": "optim.SGD(net.parameters(), lr=0.1)", "adam": "optim.Adam(net.parameters())",
    "adamw": "optim.AdamW(net.parameters())",
    "Momentum": "optim.SGD(net.parameters(), lr, momentum=0.9)",
    "RMSprop": "optim.Adam(net.parameters(), betas=(0.0, 0.9)), a relative of it",
    "RMSProp": "optim.Adam(net.parameters(), betas=(0.0, 0.9)), a relative of it",
    "Adagrad": "optim.Adam(net.parameters())",
    "lr_scheduler": "optim.Schedule(lr, 'cosine', steps)",
    "CosineAnnealingLR": "optim.Schedule(lr, 'cosine', steps)",
    "clip_grad_norm_": "optim.clip_grad_norm(params, max_norm)",
    "clip_grad_value_": "optim.clip_grad_value(params, value)",
}  # fmt: skip

# A name of tinygen.losses -> what to write.
LOSSES = {
    **{k: v for k, v in NN.items() if k.endswith("Loss")},
    "bce": "losses.bce_with_logits(logits, targets), without a sigmoid before it",
    "binary_cross_entropy": "losses.bce_with_logits(logits, targets), without a sigmoid before it",
    "binary_cross_entropy_with_logits": "losses.bce_with_logits(logits, targets)",
    "mse_loss": "losses.mse(prediction, target)", "l1_loss": "losses.l1(prediction, target)",
    "mean_squared_error": "losses.mse(prediction, target)", "mae": "losses.l1(prediction, target)",
    "nll_loss": "losses.cross_entropy(logits, labels)",
    "nll": "losses.cross_entropy(logits, labels)",
    "softmax_cross_entropy": "losses.cross_entropy(logits, labels)",
    "kl": "losses.gaussian_kl(mu, logvar)", "kl_div": "losses.gaussian_kl(mu, logvar)",
    "kl_divergence": "losses.gaussian_kl(mu, logvar)", "elbo": "losses.vae(logits, x, mu, logvar)",
    "reparameterize": "losses.reparameterise(mu, logvar, rng)",
    "hinge": "losses.gan('hinge')", "wasserstein": "losses.gan('wasserstein')",
    "wgan": "losses.gan('wasserstein')",
    "wgan_gp": "losses.gradient_penalty(critic, real, fake, rng)",
}  # fmt: skip

# An attribute of a module -> what to write.
MODULE = {
    "cuda": "tg.use_backend('cupy') around the program", "to": "tg.use_backend('cupy')",
    "cpu": "tg.use_backend('numpy')", "float": "parameters are float32",
    "children": "named_modules()",
    "modules": "named_modules()", "apply": "a loop over named_modules()",
    "requires_grad_": "p.requires_grad = False for p in net.parameters()",
    "register_buffer": "self.name = nn.Buffer(array)",
    "register_parameter": "self.name = nn.Parameter(array)", "add_module": "self.name = layer",
    "append": "net.layers.append(layer)", "compile": "tg.compile(step)",
    "fit": "tg.train.fit(model, data, epochs=5)", "predict": "net(x)", "summary": "print(net)",
    "trainable_variables": "parameters()", "weights": "parameters()", "kernel": "weight",
    "w": "weight", "W": "weight", "b": "bias",
}  # fmt: skip

# An option -> ours; the first that the function takes is named.
OPTIONS = {
    "dim": "axis axes", "dims": "axis axes", "axes": "axis", "keepdim": "keepdims",
    "keep_dims": "keepdims", "ddof": "correction", "learning_rate": "lr", "num_classes": "classes",
    "num_features": "features", "normalized_shape": "features", "num_channels": "features",
    "num_groups": "groups", "num_embeddings": "count", "embedding_dim": "features",
    "min": "low", "max": "high", "a_min": "low", "a_max": "high", "repeats": "shape",
    "size": "shape",
    "rate": "p", "negative_slope": "slope", "alpha": "slope", "kernel_size": "kernel",
    "kernel": "kernel_size", "strides": "stride", "filters": "out_channels",
    "units": "out_features",
    "scale_factor": "scale", "parameters": "params", "model_parameters": "params",
    "generator": "rng", "seed": "rng", "input": "logits prediction x", "inputs": "logits x",
    "target": "labels targets", "targets": "labels target", "labels": "targets target",
    "logits": "prediction", "y_true": "labels targets target", "y_pred": "logits prediction",
    "log_var": "logvar", "mean": "mu", "use_bias": "bias", "epsilon": "eps", "indexes": "indices",
    "weight": "w", "pad": "pad_width padding", "kernel_initializer": "init", "arrays": "tensors",
}  # fmt: skip

# An option that no function takes -> what to write.
ADVICE = {
    "unbiased": "write correction=1 for True, correction=0 for False",
    "inplace": "leave it out: a tensor is not changed in place",
    "out": "leave it out: the result is a new tensor",
    "device": "leave it out: tg.use_backend('cupy') chooses where tensors are",
    "requires_grad": "write .detach(requires_grad=True) behind the call",
    "activation": "write a layer of its own: nn.ReLU()", "input_shape": "leave it out",
    "from_logits": "leave it out: losses take logits", "amsgrad": "leave it out",
    "retain_variables": "write retain_graph",
}  # fmt: skip

# What operations are made of -> what a person called.
CALLED = {
    "matmul_nd": "matmul", "linear_fused": "linear", "power_n": "power", "power_xy": "power",
    "cast": "astype", "cast_discrete": "astype", "concat": "concatenate", "basic_slice": "x[...]",
    "getitem": "x[...]", "place": "the gradient of x[...]", "guarded_div": "div",
    "add_along_axis": "the gradient of take_along_axis", "mask_and": "logical_and",
    "mask_or": "logical_or", "surround": "pad",
    "guarded_mul": "mul", "sum_to": "sum", "conv2d_nd": "conv2d", "conv2d_dx": "conv_transpose2d",
    "conv2d_dw": "the weight's gradient of conv2d", "max_pool2d_nd": "max_pool2d",
    "max_pool2d_dx": "the gradient of max_pool2d", "max_pool2d_pick": "the gradient of max_pool2d",
    "avg_pool2d_nd": "avg_pool2d", "avg_pool2d_dx": "the gradient of avg_pool2d",
    "pixels_repeated": "upsample2d", "pixels_added": "the gradient of upsample2d",
    "pixels_to_channels": "space_to_depth", "channels_to_pixels": "depth_to_space",
    "product_along": "prod", "product_without": "the gradient of prod", "squares_along": "norm",
    "attend": "attention", "attend_dx": "the gradient of attention",
    "attend_self": "self_attention", "attend_self_dx": "the gradient of self_attention",
    "bce_logits_terms": "bce_with_logits", "gaussian_kl_terms": "gaussian_kl",
    "gaussian_nll_terms": "gaussian_nll", "gaussian_sample": "reparameterise",
    "normalise_dx": "the gradient of normalise", "update_running": "BatchNorm",
    "normalise_groups_dx": "the gradient of normalise_groups",
    "normalise_silu_dx": "the gradient of normalise_silu",
    "sum_of_squares": "norm", "sgd_step": "SGD.step",
    "sgd_momentum_step": "SGD.step", "adam_step": "Adam.step", "ema_step": "EMA.update",
    "assign": "load_state_dict or another assignment", "advance": "a generator's draw",
    "random_words": "a generator's draw", "random_uniform": "Generator.uniform",
    "random_normal": "Generator.normal", "random_bernoulli": "Generator.bernoulli",
    "random_integers": "Generator.integers", "random_permutation": "Generator.permutation",
    "dropout": "Dropout",
}  # fmt: skip

STEPS = {"squares_along", "sum_of_squares"}  # one step of what CALLED names, and not the whole


def called(name: str) -> str:
    """What a person called, given the name of an operation."""
    return CALLED.get(name, name)


def unknown(owner: str, name: str, table: dict[str, str]) -> AttributeError:
    """The error for a name that `owner` does not have."""
    if name not in table:
        return AttributeError(f"{owner} has no attribute {name!r}")
    return AttributeError(f"{owner} has no attribute {name!r}; in tinygen: {table[name]}")


class _Elsewhere:
    """An attribute of other libraries: looking at it raises AttributeError with our spelling."""

    def __init__(self, name: str, table: dict[str, str]) -> None:
        self.name = name
        self.table = table

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        kind = owner if instance is None else type(instance)
        raise unknown(f"{kind.__name__!r} object", self.name, self.table)

    def __repr__(self) -> str:
        return f"<not in tinygen: {self.table[self.name]}>"


def explain(owner: type, table: dict[str, str]) -> None:
    """Let every name of the table that `owner` does not have say what to write."""
    for name in table:
        missing = _Elsewhere(name, table)
        if isinstance(inspect.getattr_static(owner, name, missing), _Elsewhere):
            setattr(owner, name, missing)
    owner.__dir__ = _own_names  # type: ignore[assignment]


def _own_names(thing: Any) -> list[str]:
    """What dir() lists and an editor completes: not the names of other libraries."""
    names = object.__dir__(thing)
    return [n for n in names if not isinstance(inspect.getattr_static(thing, n, None), _Elsewhere)]


def names(module: str, table: dict[str, str]) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module: asked for names that it does not have."""

    def lacks(name: str) -> NoReturn:
        raise unknown(f"module {module!r}", name, table)

    return lacks


def options(who: str, given: Iterable[str], takes: Iterable[str]) -> TypeError:
    """The error for options that a function does not take."""
    takes = list(takes)
    words = []
    strange = [name for name in given if name not in takes]
    for name in strange:
        ours = [word for word in OPTIONS.get(name, "").split() if word in takes]
        if ours:
            words.append(f"write {ours[0]} for {name}")
        elif name in ADVICE:
            words.append(f"{name}: {ADVICE[name]}")
    listed = f"it takes {', '.join(takes) or 'no options'}"
    return TypeError("; ".join([f"{who}: unknown option {', '.join(strange)}", *words, listed]))


def constructed(cls: type, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    """Refuse options that the constructor of a class does not take."""
    start = inspect.getattr_static(cls, "__init__")
    if start is object.__init__:
        if args or given:
            what = f"{len(args)} arguments" if args else ", ".join(given)
            advice = "".join(f"; {name}: {ADVICE[name]}" for name in given if name in ADVICE)
            raise TypeError(f"{cls.__name__}: {what} given, expected none{advice}")
    elif given:
        parameters = list(inspect.signature(start).parameters.values())[1:]
        takes = [p.name for p in parameters]
        free = any(p.kind is p.VAR_KEYWORD for p in parameters)
        if not free and not given.keys() <= set(takes):
            raise options(cls.__name__, given, takes)


def spelled(function: F) -> F:
    """A function that names its own options when it meets those of other libraries."""
    takes = dict.fromkeys(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        if given and not given.keys() <= takes.keys():
            raise options(function.__name__, given, takes)
        return function(*args, **given)

    return call  # type: ignore[return-value]
