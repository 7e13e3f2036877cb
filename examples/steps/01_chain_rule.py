"""The chain rule, carried out by a program.

Every number remembers which numbers it was computed from, and the slope with respect to each.
Walking back from the result, each number passes its gradient on, times the slope: that is the
chain rule, and it is all there is to backpropagation.

Look at: the gradient column, and how closely a difference (nudge one input, watch the result)
agrees with it.
Exercise: add __sub__, and an exp(x). What is the slope of exp, and which value gives it for free?
"""

import math


class Number:
    def __init__(self, value, came_from=()):
        self.value = value
        self.came_from = came_from  # pairs: (a number it was made from, the slope for it)
        self.grad = 0.0

    def __add__(self, other):
        return Number(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        return Number(self.value * other.value, [(self, other.value), (other, self.value)])

    def tanh(self):
        t = math.tanh(self.value)
        return Number(t, [(self, 1 - t * t)])

    def backward(self):
        order = []  # every number comes after those that it was made from

        def visit(number):
            if number not in order:
                for source, _ in number.came_from:
                    visit(source)
                order.append(number)

        visit(self)
        self.grad = 1.0  # the slope of the result with respect to itself
        for number in reversed(order):
            for source, slope in number.came_from:
                source.grad += number.grad * slope  # += : every path to the result counts


def neuron(x, w, b):
    """Two uses of x, so that two paths lead back to it: tanh(w x + b) x."""
    return (w * x + b).tanh() * x


def main():
    inputs = {"x": 0.8, "w": -1.5, "b": 0.4}
    numbers = {name: Number(value) for name, value in inputs.items()}
    result = neuron(**numbers)
    result.backward()
    print(f"tanh(w x + b) x = {result.value:.6f}\n")
    print("input   value    gradient   difference")
    h = 1e-6
    for name, value in inputs.items():
        up = neuron(**{k: Number(v + h * (k == name)) for k, v in inputs.items()})
        down = neuron(**{k: Number(v - h * (k == name)) for k, v in inputs.items()})
        difference = (up.value - down.value) / (2 * h)
        print(f"{name:5} {value:7.2f} {numbers[name].grad:11.6f} {difference:12.6f}")
        assert abs(numbers[name].grad - difference) < 1e-8
    print("\nThe program walked back once and had all three; the differences took six runs.")


if __name__ == "__main__":
    main()
