"""The conditional variational autoencoder (Sohn, Lee and Yan, 2015).

Everything is as in the VAE, given a label y: the encoder sees (x, y) and the decoder (z, y), so
that the code holds what the label does not say (slant, thickness), and the label chooses what is
drawn:

    ELBO = E_q(z|x,y) [log p(x|z,y)] - beta KL(q(z|x,y) || N(0, I)).
"""

from __future__ import annotations

from .vae import VAE


class CVAE(VAE):
    """Dense VAE with the one-hot label beside the encoder's and the decoder's input."""

    name = "cvae"
    conditional = True
