"""The same neuron with tensors: whole arrays of numbers at once, and .backward().

A tensor made with requires_grad=True is watched. What is computed from it remembers how, and
backward() leaves the gradient of the result in .grad, an array of the same shape.

Look at: the first three numbers, which are those of step 01; then five inputs in one go; and what
happens when backward() is called twice.
Exercise: make a function of your own from the methods of a tensor (exp, sin, sum, ...). Check one
entry of its gradient with a difference, as in step 01.
"""

import tinygen as tg


def neuron(x, w, b):
    return (w * x + b).tanh() * x


def main():
    print("1. One number at a time, as in step 01")
    x, w, b = (tg.tensor(v, requires_grad=True) for v in (0.8, -1.5, 0.4))
    y = neuron(x, w, b)
    y.backward()
    print(f"   result {y.item():.6f}")
    for name, t in (("x", x), ("w", w), ("b", b)):
        print(f"   gradient for {name}: {t.grad.item():.6f}")

    print("\n2. Five inputs at once; a gradient needs one number, so we add the five results up")
    x = tg.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    w, b = (tg.tensor(v, requires_grad=True) for v in (-1.5, 0.4))
    neuron(x, w, b).sum().backward()
    print("   x         ", *(f"{v:8.3f}" for v in x.tolist()))
    print("   gradient  ", *(f"{v:8.3f}" for v in x.grad.tolist()))
    print(f"   w is used five times, so its gradient is a sum of five: {w.grad.item():.3f}")

    print("\n3. backward() adds to .grad; it does not replace it")
    a = tg.tensor(3.0, requires_grad=True)
    for n in (1, 2, 3):
        (a * a).backward()
        print(f"   after backward number {n}: {a.grad.item():.0f}")
    a.grad = None  # what optimizer.zero_grad() does for every parameter
    (a * a).backward()
    print(f"   forgotten and done again: {a.grad.item():.0f}")

    print("\n4. tg.grad returns gradients and leaves .grad alone")
    (slope,) = tg.grad(a * a * a, [a])
    print(f"   d(a^3)/da = 3 a^2 = {slope.item():.0f}, and a.grad is still {a.grad.item():.0f}")


if __name__ == "__main__":
    main()
