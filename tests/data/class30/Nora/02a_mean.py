import tinygen as tg


def gradient(g, x):
    return g / x.size * tg.ones(x.shape, dtype=x.dtype)
