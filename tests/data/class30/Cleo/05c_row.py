import tinygen as tg


def gradient(g, x, row):
    return tg.sum(g)
