"""A rule of calculus beside the function it belongs to.

The engine knows sin and exp because someone wrote down a function and its rule. Here we teach it
log cosh(x), a smooth stand-in for |x|: the reference computes it, the rule says how a gradient g
of the output becomes a gradient of x. check_grads compares rules with differences.

Look at: the two wrong rules. The first has a wrong slope. The second is harder to find: its
slope is right, and only the slope of the slope is wrong.
Exercise: write a primitive for x sin(x), with its rule, and check it to order 3.
"""

import math

import tinygen as tg


@tg.primitive
def log_cosh(xp, x):  # xp is the array library: NumPy here, another one on a GPU
    # the same as log((e^x + e^-x) / 2), written so that e^1000 never appears
    return xp.abs(x) + xp.log1p(xp.exp(-2 * xp.abs(x))) - math.log(2)


log_cosh.vjp(x=lambda g, x: g * tg.tanh(x))


@tg.primitive
def cube(xp, x):
    return x * x * x


cube.vjp(x=lambda g, x: g * (2 * x * x))  # wrong: it should be 3 x^2


@tg.primitive
def fourth(xp, x):
    return x * x * x * x


fourth.vjp(x=lambda g, x: g * (4 * x.detach() ** 3))  # detach() hides how the slope depends on x


def verdict(function, x, order):
    try:
        tg.testing.check_grads(function, [x], order=order)
    except AssertionError as error:
        numbers = str(error).split(": ")[-1].split(" for arguments")[0]
        return f"CAUGHT\n   {numbers}"
    return "agrees with differences"


def main():
    x = tg.random.Generator(0).normal((5,))
    print("x          ", *(f"{v:8.4f}" for v in x.tolist()))
    print("log cosh x ", *(f"{v:8.4f}" for v in log_cosh(x).tolist()))
    print(f"and for x = 1000: {log_cosh(tg.tensor(1000.0)).item():.4f}\n")

    for function, orders in ((log_cosh, (1, 2)), (cube, (1,)), (fourth, (1, 2))):
        for order in orders:
            print(f"{function.name}, order {order}: {verdict(function, x, order)}")

    leaf = x.detach(requires_grad=True)
    log_cosh(leaf).sum().backward()
    print("\nThe new function is as good as a built-in one. Its gradient is tanh x:")
    print("           ", *(f"{v:8.4f}" for v in leaf.grad.tolist()))


if __name__ == "__main__":
    main()
