def gradient(g, x, row):
    return 7 * g * x
