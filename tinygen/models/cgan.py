"""The conditional GAN (Mirza and Osindero, 2014, arXiv 1411.1784).

Both players are told the label y: the generator draws from (z, y), and the discriminator judges
whether x is a real image of y, so an image of another class is as bad as an ugly one:

    min_G max_D  E log D(x, y) + E log(1 - D(G(z, y), y)).
"""

from __future__ import annotations

from .gan import GAN


class CGAN(GAN):
    """Dense GAN with the one-hot label beside the noise and beside the flattened image."""

    name = "cgan"
    conditional = True
