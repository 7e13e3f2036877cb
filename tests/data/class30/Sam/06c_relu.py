import tinygen as tg


def gradient(g, x):
    return g * (x > 0).astype(x.dtype)
