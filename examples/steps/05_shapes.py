"""Broadcasting, and why its gradient is a sum.

A row of four numbers added to a table of three rows is used three times. A number that is used
three times has three paths to the result, and its gradient is the sum over them. So wherever shapes
were stretched on the way forward, gradients are added up on the way back.

Look at: the shapes of the gradients, always those of the inputs. Then the last part: a mistake that
raises no error in plain arithmetic and ruins many a first training program.
Exercise: what are the gradients of (column * row).sum() for a column (3, 1) and a row (1, 4)? Write
them down first, then print them.
"""

import numpy as np

import tinygen as tg
from tinygen import losses


def main():
    table = tg.tensor(np.arange(12, dtype=np.float32).reshape(3, 4), requires_grad=True)
    row = tg.tensor([10.0, 20.0, 30.0, 40.0], requires_grad=True)
    weights = tg.tensor([[1.0], [10.0], [100.0]])  # so that the three paths can be told apart
    (weights * (table + row)).sum().backward()
    print("table (3, 4) + row (4,): the row is stretched to (3, 4)")
    print(f"gradient for the table, {table.grad.shape}:\n{table.grad.numpy()}")
    print(f"gradient for the row, {row.grad.shape}: 1 + 10 + 100 in each place")
    print(f"   {row.grad.numpy()}\n")

    print("The other way round: a mean over an axis shrinks, so its gradient is stretched")
    x = tg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    x.mean(axis=1).sum().backward()
    print(f"   x {x.shape} -> mean {x.mean(axis=1).shape}, gradient {x.grad.shape}:")
    print(f"   {x.grad.numpy()[0]} in each row\n")

    print("Matrix products keep the account themselves: x (5, 3) @ w (3, 2)")
    rng = tg.random.Generator(0)
    x, w = rng.normal((5, 3)), rng.normal((3, 2)).detach(requires_grad=True)
    (x @ w).sum().backward()
    by_hand = x.T @ tg.ones((5, 2))  # the rule: x transposed times the gradient of the output
    print(f"   gradient for w {w.grad.shape}, largest difference from x.T @ g:", end=" ")
    print(f"{np.abs(w.grad.numpy() - by_hand.numpy()).max():.1e}\n")

    print("The mistake: predictions (4, 1) against targets (4,)")
    prediction = tg.tensor([[1.0], [2.0], [3.0], [4.0]])  # as a network returns them
    target = tg.tensor([1.0, 2.0, 3.0, 4.0])  # as they come from a file
    error = prediction - target
    print(f"   prediction - target has shape {error.shape}: all pairs, not the matching ones")
    print(f"   mean squared error {(error**2).mean().item():.2f}, though each prediction is right")
    right = prediction.reshape(-1) - target
    print(f"   reshaped to {right.shape} first: {(right**2).mean().item():.2f}")
    try:
        losses.mse(prediction, target)
    except ValueError as refusal:
        print(f"   tinygen's losses refuse such a pair:\n   {refusal}")


if __name__ == "__main__":
    main()
