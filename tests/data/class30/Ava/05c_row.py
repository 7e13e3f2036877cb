def gradient(g, x, row):
    while True:
        print("still busy")
