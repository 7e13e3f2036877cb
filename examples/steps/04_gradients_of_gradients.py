"""Gradients of gradients: a gradient is a tensor too, so it can be differentiated again.

With create_graph=True the walk back is recorded like any other computation. The second derivative
is the curvature, and it tells how far to step: Newton's method jumps to the bottom of the
parabola that fits the function where it stands. WGAN-GP (step 15) rests on the same ability.

Look at: the derivatives of sin, which come back to sin; and the number of correct digits of
Newton's method, which doubles at every step once it is close.
Exercise: give valley() the body x**4 - 2 * x**2 and start at 0.3. Gradient descent finds the
lowest point, and Newton's method something else. What does the sign of the curvature say there?
"""

import math

import numpy as np

import tinygen as tg


def derivatives(function, at, how_many):
    """The function and its first derivatives at one point, in float64."""
    x = tg.tensor(np.float64(at), requires_grad=True)
    values = [function(x)]
    for _ in range(how_many):
        (next_one,) = tg.grad(values[-1], [x], create_graph=True)
        values.append(next_one)
    return [v.item() for v in values]


def valley(x):
    return tg.exp(x) + tg.exp(-2 * x)  # lowest where e^x = 2 e^-2x, that is at log(2) / 3


def main():
    print("sin and its derivatives at x = 1")
    names = ("sin", "cos", "-sin", "-cos", "sin again")
    for name, value in zip(names, derivatives(tg.sin, 1.0, 4), strict=True):
        print(f"   {name:10} {value:9.6f}")

    print("\nTaylor's series: sin(1.5) from derivatives at 0 alone")
    at_zero = derivatives(tg.sin, 0.0, 9)
    total = 0.0
    for n, value in enumerate(at_zero):
        total += value / math.factorial(n) * 1.5**n
        if n % 2:
            print(f"   up to x^{n}: {total:.8f}   off by {abs(total - math.sin(1.5)):.1e}")

    print("\nThe lowest point of e^x + e^-2x, from x = 2: digits that are right")
    lowest = math.log(2) / 3
    descent = newton = 2.0
    print("   step   gradient descent       Newton's method")
    for step in range(9):
        digits = [-math.log10(max(abs(x - lowest), 1e-16)) for x in (descent, newton)]
        print(f"   {step:4} {descent:12.8f} {digits[0]:4.1f} {newton:16.12f} {digits[1]:4.1f}")
        _, slope, _ = derivatives(valley, descent, 2)
        descent -= 0.2 * slope
        _, slope, curvature = derivatives(valley, newton, 2)
        newton -= slope / curvature


if __name__ == "__main__":
    main()
