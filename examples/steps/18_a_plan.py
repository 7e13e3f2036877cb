"""A plan: the same training step, recorded once and run again and again.

So far Python walks through every step: it makes a node for each operation, pulls gradients back
through the graph, and asks for new memory each time. But the steps are all alike. `tg.compile`
watches one, and keeps the list of what was computed. Then the list can be improved as a whole:
what nobody reads is dropped, neighbours share one loop, all temporaries share one piece of memory.

Look at: the table. Each row is a call; find a matrix product with its bias and its ReLU in one
row, and Adam in the row of the product that makes its gradient. How far is each from the limit of
your machine? ("cache": memory does not limit it.) Both ways end at the same loss. Without Numba
(`pip install "tinygen[fast]"`) the rows stay apart.
Exercise: return `h.mean()` from the step, too. Which rows are new, and which only changed?
"""

from time import perf_counter

import tinygen as tg
from tinygen import losses, nn, optim


def main():
    rng = tg.random.Generator(0)
    encoder = nn.Sequential(nn.Dense(784, 256, rng=rng), nn.ReLU())
    decoder = nn.Dense(256, 784, rng=rng)
    optimizer = optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    def step(x):
        h = encoder(x)
        loss = losses.bernoulli_nll(decoder(h), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    first = encoder.state_dict(), decoder.state_dict(), optimizer.state_dict()
    data = tg.data.load("strokes", n=4000)
    batches = [
        tg.tensor(batch.images).reshape(-1, 784) for batch in data.batches(64, seed=0, epoch=0)
    ]
    planned = tg.compile(step)
    print("the first call records and compiles: ", end="", flush=True)
    start = perf_counter()
    planned(batches[0])
    print(f"{perf_counter() - start:.2f} s")
    for name, run in (("Python, operation by operation", step), ("the plan", planned)):
        for part, state in zip((encoder, decoder, optimizer), first, strict=True):
            part.load_state_dict(state)  # both start from the same weights
        start = perf_counter()
        for x in batches:
            loss = run(x)
        seconds = (perf_counter() - start) / len(batches)
        print(f"{name}: {seconds * 1e3:.2f} ms a step, last loss {loss.item():.2f}")
    print(planned.plan)


if __name__ == "__main__":
    main()
