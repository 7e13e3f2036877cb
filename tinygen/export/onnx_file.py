"""An ONNX file in the making: nodes, constants, inputs and outputs, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..version import __version__
from . import spec
from .artefact import Artefact
from .graphs import ExportError

if TYPE_CHECKING:
    import onnx

OPSET = 13
IR_VERSION = 7
BATCH = "n"

# Operations of elements, or of rows of the last axes, that ONNX has with the same meaning.
OPERATORS = {
    "abs": "Abs", "add": "Add", "cos": "Cos", "div": "Div", "equal": "Equal", "erf": "Erf",
    "exp": "Exp", "floor": "Floor", "greater": "Greater", "greater_equal": "GreaterOrEqual",
    "less": "Less", "less_equal": "LessOrEqual", "log": "Log", "mask_and": "And",
    "mask_or": "Or", "maximum": "Max", "minimum": "Min", "mul": "Mul", "relu": "Relu",
    "round": "Round", "sigmoid": "Sigmoid", "sin": "Sin", "softplus": "Softplus", "sqrt": "Sqrt",
    "sub": "Sub", "tanh": "Tanh", "where": "Where",
}  # fmt: skip
REDUCED = {"max": "ReduceMax", "mean": "ReduceMean", "min": "ReduceMin"}


class File:
    """An ONNX graph in the making; values are known by their names."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError:
            raise ExportError(
                'the form "onnx" is written by the onnx library: pip install "tinygen[onnx]"'
            ) from None
        self.onnx = onnx
        self.nodes: list[onnx.NodeProto] = []  # of the graph, or of the body of a loop
        self.first: list[onnx.NodeProto] = []  # before those
        self.count = 0
        self.constants: dict[str, onnx.TensorProto] = {}
        self.ends: dict[str, list[onnx.ValueInfoProto]] = {"inputs": [], "outputs": []}

    def code(self, dtype: Any) -> int:
        """ONNX's number of a NumPy dtype."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, and the name of that."""
        (name,) = self.several(operator, 1, *inputs, **attributes)
        return name

    def several(self, operator: str, outs: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node with some outputs, and their names."""
        name = f"{operator}_{self.count}"
        self.count += 1
        made = [name, *(f"{name}.{k}" for k in range(1, outs))]
        node = self.onnx.helper.make_node(operator, list(inputs), made, name=name, **attributes)
        self.nodes.append(node)
        return made

    def named(self, name: str, x: str) -> str:
        """Call x, which the last node gave, by another name."""
        assert x == self.nodes[-1].output[0]
        self.nodes[-1].output[0] = name
        return name

    def constant(self, name: str, array: Any) -> str:
        """An array, kept once."""
        value = np.asarray(array, order="C")
        self.constants[name] = self.onnx.numpy_helper.from_array(value, name)
        return name

    def integers(self, *values: int) -> str:
        """A list of integers."""
        name = f"[{','.join(map(str, values))}]"
        return self.constant(name, np.array(values, np.int64))

    def input(self, name: str, dtype: Any, shape: tuple[int, ...]) -> str:
        """An input (n, *shape)."""
        self.ends["inputs"].append(self.about(name, dtype, (BATCH, *shape)))
        return name

    def choice(self, name: str, default: Any) -> str:
        """An input of one number that has a default, so that it need not be given."""
        self.constant(name, default)
        self.ends["inputs"].append(self.about(name, default.dtype, ()))
        return name

    def output(self, name: str, x: str, shape: tuple[int, ...], dtype: Any = np.float32) -> None:
        """Make x, which the last node gave, an output."""
        self.named(name, x)
        self.ends["outputs"].append(self.about(name, dtype, (BATCH, *shape)))

    def about(self, name: str, dtype: Any, shape: Sequence[Any]) -> onnx.ValueInfoProto:
        """Describe an input or output for ONNX. A size of None may be any."""
        made: onnx.ValueInfoProto = self.onnx.helper.make_tensor_value_info(
            name, self.code(dtype), list(shape)
        )
        return made

    def batch(self) -> str:
        """A list of one size, n; it is found before all else, so that loops know it, too."""
        if not self.first:
            outside, self.nodes = self.nodes, self.first
            shape = self.add("Shape", self.ends["inputs"][0].name)
            self.add("Slice", shape, self.integers(0), self.integers(1))
            self.nodes = outside
        name: str = self.first[-1].output[0]
        return name

    def slice(self, x: str, cuts: dict[int, tuple[int, int]]) -> str:
        """x from start to end, by axis."""
        starts, ends = zip(*cuts.values(), strict=True)
        lists = (self.integers(*values) for values in (starts, ends, tuple(cuts)))
        return self.add("Slice", x, *lists)

    def model(self, artefact: Artefact, doc: str) -> bytes:
        """The bytes of the file."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.first + self.nodes, artefact.name, self.ends["inputs"], self.ends["outputs"],
            list(self.constants.values()),
        )  # fmt: skip
        model = helper.make_model(
            graph, producer_name="tinygen", producer_version=__version__, ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            doc_string=f"{doc}. All images are synthetic.",
        )  # fmt: skip
        for key, value in metadata(artefact).items():
            model.metadata_props.add(key=spec.utf8(key), value=value)
        blob: bytes = model.SerializeToString(deterministic=True)
        return blob


def metadata(artefact: Artefact) -> dict[str, str]:
    """What the file says of itself; what is no text is JSON.

    Beside Artefact.describe(): range; stream, for who draws codes themselves (artefact.py); and
    self_test, its arrays little endian in base64.
    """
    whole = spec.description(artefact)
    said = {**artefact.describe(), "range": whole["range"], "stream": whole["stream"]}
    said["self_test"] = whole["test"]
    return {k: spec.utf8(v) if isinstance(v, str) else spec.as_json(v) for k, v in said.items()}
