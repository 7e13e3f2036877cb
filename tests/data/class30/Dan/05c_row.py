def gradiant(g, x, row):
    return g * x
