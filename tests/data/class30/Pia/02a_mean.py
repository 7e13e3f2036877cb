import tinygen as tg


def gradient(g, x):
    return g / x.size
