"""The models by name: a method, its networks, and the defaults that suit both."""

from __future__ import annotations

from typing import Any

from ..options import joined
from .adversarial import Adversarial
from .classifier import Classifier
from .networks import convolutions, dense, pyramid
from .registry import register
from .vae import Variational

UNEQUAL: Any = {"lr": 5e-4, "shown": {"d_lr": "four times --lr"}}  # of the DCGANs, see `pace`


@register
class VAE(Variational):
    """Dense VAE: pixels-hidden-(mu, logvar), latent-hidden-pixels, ReLU between.

    `hidden` are the encoder's widths, the decoder mirrors them. See Variational for the rest.
    """

    name, with_labels = "vae", "cvae"
    networks = dense.Coder
    Options = joined(dense.Coder.Options, Variational.Options)


@register
class CVAE(VAE):
    """Dense VAE with the one-hot label beside the encoder's and the decoder's input."""

    name, conditional = "cvae", True


@register
class ConvVAE(Variational):
    """Two strided convolutions and dense layers; the decoder mirrors them, with ReLU between.

    Raises:
        ValueError: height or width not divisible by 4.
    """

    name, with_labels = "conv-vae", "cvae"
    networks = convolutions.Coder
    Options = joined(convolutions.Coder.Options, Variational.Options)


@register
class GAN(Adversarial):
    """Dense GAN: latent-hidden-pixels with ReLU and tanh against pixels-hidden reversed-1.

    The discriminator has LeakyReLU of slope 0.2 and dropout after each hidden layer, and returns
    logits.
    """

    name, with_labels = "gan", "cgan"
    networks = dense.Players
    Options = joined(dense.Players.Options, Adversarial.Options)


@register
class CGAN(GAN):
    """Dense GAN with the one-hot label beside the noise and beside the flattened image."""

    name, conditional = "cgan", True


@register
class DCGAN(Adversarial):
    """Transposed convolutions of 5 x 5 with batch normalisation against strided convolutions.

    Sizes: height and width divisible by 4 up to 32 pixels, by 8 up to 64, by 16 up to 128, and so
    on; grey or colour.

    The tutorial's own training is `batch_size` 256, `lr` and `d_lr` 1e-4, `betas` (0.9, 0.999),
    `dropout` 0.3, `r1` 0 and no average of the weights. Here the discriminator learns four times as
    fast as the generator: at equal pace it cannot tell real from fake, and digits stay crooked.
    """

    name, with_labels = "dcgan", "cdcgan"
    networks = pyramid.Players
    ema, pace = 0.999, 4.0
    Options = joined(pyramid.Players.Options, Adversarial.Options, **UNEQUAL)


@register
class CDCGAN(DCGAN):
    """DCGAN with labels."""

    name, conditional = "cdcgan", True
    networks = pyramid.LabelledPlayers
    Options = joined(pyramid.LabelledPlayers.Options, Adversarial.Options, **UNEQUAL)


@register
class ConvGAN(Adversarial):
    """Dense generator; the discriminator's convolutions are "valid", its max pools halve.

    Raises:
        ValueError: images below 10 x 10, of which the discriminator leaves nothing.
    """

    name, with_labels = "conv-gan", "cdcgan"
    networks = convolutions.Players
    batch_size, ema = 128, 0.999
    Options = joined(convolutions.Players.Options, Adversarial.Options, lr=1e-4)


register(Classifier)
