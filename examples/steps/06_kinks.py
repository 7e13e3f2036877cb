"""Kinks, ties and infinite slopes: where calculus has no answer, a program needs a rule.

|x| has no slope at 0, and max(x, y) two where x = y. tinygen writes down one answer for each in a
table, the same on every machine. Worse are places where a slope is infinite: infinity times zero is
NaN ("not a number"), and one NaN spreads over all weights in a single step.

Look at: the table. Then two ways to sum the logarithms of positive entries only. The mask
makes NaN of the value, and of the gradient too where a rule has no guard (tinygen's has one). Last,
the error that names the operation in which a NaN was born.
Exercise: the standard deviation is sqrt(mean of squares). Find its gradient where all entries are
0, and repair it with a small number under the root. Which one, and why there?
"""

import numpy as np

import tinygen as tg


def main():
    print(tg.conventions())

    print("\nA slope from the left, from the right, and the one that tinygen takes")
    for name, function in (("relu", tg.relu), ("abs", tg.abs)):
        left, right = (function(tg.tensor(v)).item() / v + 0.0 for v in (-1e-3, 1e-3))
        x = tg.tensor(0.0, requires_grad=True)
        function(x).backward()
        print(f"   {name:5} {left:5.1f} {right:5.1f} {x.grad.item():8.1f}")

    print("\nThe sum of log x over the positive entries of")
    values = [2.0, 1.0, 0.0, -1.0]
    print(f"   {values}")
    with np.errstate(all="ignore"):  # NumPy would warn of the logarithm of 0 and of -1
        x = tg.tensor(values, requires_grad=True)
        mask = (x > 0).astype("float32")
        (mask * tg.log(x)).sum().backward()
        print(f"   mask * log(x):       value {(mask * tg.log(x)).sum().item()}: 0 * inf is NaN")
        print(f"                        gradient {x.grad.tolist()}, by tinygen's guarded rule")
        print(f"                        gradient {(mask / x).tolist()}, by g / x alone")

        x = tg.tensor(values, requires_grad=True)
        tg.where(x > 0, tg.log(x), 0.0).sum().backward()
        print(f"   where(x > 0, log x): value {tg.where(x > 0, tg.log(x), 0.0).sum().item():.4f}")
        print(f"                        gradient {x.grad.tolist()}")
    print("   `where` selects, a mask multiplies; what was not selected must leave no trace. Where")
    print("   the cotangent is 0, tinygen's rules give 0; other engines use g / x as it stands.")

    print("\nWhich operation made the NaN? finite_checks stops at the first one")
    weights = tg.tensor([0.5, 1.0, -3.0])
    try:
        with tg.testing.finite_checks(), np.errstate(all="ignore"):
            (tg.sqrt(weights) * 2 + 1).mean()
    except FloatingPointError as found:
        print(f"   {str(found).split(', called at')[0]}: {str(found).split(': ', 1)[1]}")


if __name__ == "__main__":
    main()
