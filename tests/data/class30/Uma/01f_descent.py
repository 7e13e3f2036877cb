def descend(x, rate, steps):
    for _ in range(steps):
        slope = 2 * (x - 3)
        x = x - rate * slope
        return x
    return x
