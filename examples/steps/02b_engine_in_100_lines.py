"""An engine for arrays in 100 lines of NumPy: broadcasting, and gradients of gradients.

New since step 01: a primitive keeps its rules beside its function. Rules are made of primitives,
so a gradient has a gradient. What was stretched on the way forward is added up on the way back.
The cotangent `g` of a tensor is the slope of the result with respect to it, and has its shape.
tinygen's graph.py, tensor.py and primitive.py have the same names and do the same.

Look at: the gradients of step 01; a row that was used three times; sin and its derivatives.
Exercise: teach it log, and print its slope at 2 and the slope of that, 0.5 and -0.25.
"""

import inspect
from itertools import count

import numpy as np

clock, recording = count(), [True]


class Node:  # graph.py: how a tensor was made; a leaf has no primitive
    def __init__(self, primitive=None, parents=(), saved=None):
        self.primitive, self.parents, self.saved = primitive, parents, saved
        self.number = next(clock)


def reachable(roots):
    """Every node from which a root was made, the last made first."""
    seen, stack = set(), list(roots)
    while stack:
        if (node := stack.pop()) not in seen:
            seen.add(node)
            stack.extend(p for p in node.parents if p)
    return sorted(seen, key=lambda node: -node.number)


def pull_back(cotangents, create_graph):
    """Cotangents of all nodes below, given those of the outputs."""
    recording[0] = create_graph
    for node in reachable(cotangents):
        for parent, g in node.primitive.pull(node, cotangents[node]) if node.primitive else ():
            cotangents[parent] = cotangents[parent] + g if parent in cotangents else g
    recording[0] = True
    return cotangents


def grad(y, inputs, create_graph=False):  # differentiate.py
    found = pull_back({y.node: Tensor(np.ones(y.shape))}, create_graph)
    return [found.get(x.node, Tensor(np.zeros(x.shape))) for x in inputs]


class Tensor:  # tensor.py: an array, and its place in the graph
    def __init__(self, data, node=None, requires_grad=False):
        self.data, self.node = np.asarray(data, float), Node() if requires_grad else node
        self.shape = self.data.shape

    def __add__(self, other):
        return add(self, other)

    def __mul__(self, other):
        return mul(self, other)


class Primitive:  # primitive.py: a function of arrays, and the rule of each argument
    def __init__(self, reference):
        self.reference, self.rules = reference, {}

    def vjp(self, **rules):
        self.rules = rules

    def __call__(self, *args, **static):
        args = [x if isinstance(x, Tensor) else Tensor(x) for x in args]
        out = Tensor(self.reference(*(x.data for x in args), **static))
        if recording[0] and any(x.node for x in args):
            saved = dict(zip(self.rules, args, strict=True), ans=out)
            out.node = Node(self, [x.node for x in args], saved)
        return out

    def pull(self, node, g):
        """The cotangent of each parent, given g, that of the output."""
        for (name, rule), parent in zip(self.rules.items(), node.parents, strict=True):
            if parent:
                asked = inspect.signature(rule).parameters  # a rule names what it needs
                known, shape = {"g": g, **node.saved}, node.saved[name].shape
                g_parent = rule(*(known[k] for k in asked))
                yield parent, g_parent if g_parent.shape == shape else sum_to(g_parent, shape=shape)


@Primitive
def sum_to(x, *, shape):
    new = x.ndim - len(shape)  # axes that were put in front; the others were stretched from 1
    axes = tuple(i for i in range(x.ndim) if i < new or shape[i - new] == 1)
    return x.sum(axis=axes).reshape(shape)


add, mul, div, matmul = map(Primitive, (np.add, np.multiply, np.divide, np.matmul))
sin, cos, exp, tanh = map(Primitive, (np.sin, np.cos, np.exp, np.tanh))
transpose, broadcast_to = Primitive(np.transpose), Primitive(np.broadcast_to)
add.vjp(x=lambda g: g, y=lambda g: g)
mul.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)
div.vjp(x=lambda g, y: div(g, y), y=lambda g, y, ans: div(g * ans * -1, y))
matmul.vjp(x=lambda g, y: matmul(g, transpose(y)), y=lambda g, x: matmul(transpose(x), g))
sin.vjp(x=lambda g, x: g * cos(x))
cos.vjp(x=lambda g, x: g * sin(x) * -1)
exp.vjp(x=lambda g, ans: g * ans)
tanh.vjp(x=lambda g, ans: g * (ans * ans * -1 + 1))
transpose.vjp(x=lambda g: transpose(g))
sum_to.vjp(x=lambda g, x: broadcast_to(g, shape=x.shape))
broadcast_to.vjp(x=lambda g, x: sum_to(g, shape=x.shape))


if __name__ == "__main__":
    x, w, b = (Tensor(v, requires_grad=True) for v in (0.8, -1.5, 0.4))
    slopes = [g.data for g in grad(tanh(w * x + b) * x, [x, w, b])]
    print(
        "the neuron of step 01:",
        *(f"{name} {g:.6f}" for name, g in zip("xwb", slopes, strict=True)),
    )

    table, row = (Tensor(np.ones(shape), requires_grad=True) for shape in ((3, 4), (4,)))
    weights = Tensor([[1], [10], [100]])  # so that the three paths can be told apart
    (g,) = grad(sum_to(weights * (table + row), shape=()), [row])
    print("a row stretched to three: its gradient is 1 + 10 + 100 in each place,", g.data)

    x, values = Tensor(1.0, requires_grad=True), []
    values.append(sin(x))
    for _ in range(4):
        values += grad(values[-1], [x], create_graph=True)
    print("sin at 1 and its derivatives:", *(f"{v.data:.6f}" for v in values))
