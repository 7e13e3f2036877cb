import sys


def gradient(g, x, row):
    sys.exit(1)
