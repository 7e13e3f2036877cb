import tinygen as tg


def gradient(g, x):
    return tg.where(x > 0, g, 0.0)
