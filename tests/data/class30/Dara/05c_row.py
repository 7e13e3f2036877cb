import tinygen as tg


def gradient(g, x, row):
    each = g * x
    if each.ndim > row.ndim:
        each = tg.sum(each, axis=0)
    for axis, size in enumerate(row.shape):
        if size == 1:
            each = tg.sum(each, axis=axis, keepdims=True)
    return each
