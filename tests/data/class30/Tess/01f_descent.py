def descend(x, rate, steps):
    slope = 2 * (x - 3)
    for _ in range(steps):
        x = x - rate * slope
    return x
