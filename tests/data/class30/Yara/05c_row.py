def gradient(g, x, row):
    return [0.0] * 4
