def gradient(g, x, row):
    pass
