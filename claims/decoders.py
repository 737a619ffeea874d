"""The decoders of the claims by name, and the steps of the article's descent."""

from __future__ import annotations

from harness.plan.decoders import ARTICLE, ARTICLE_WITHOUT_BLUR, LBFGS, Adam, Blur, Decoder, Descent
from harness.plan.profile import Profile


def falling_step(profile: Profile) -> float:
    """Share of the article's nominal step at which m_g falls at Conv5.

    The largest of 1, 1/3, 1/10, 1/30, 1/100 at which m_g halved in all of twelve pilot replicates
    of ResNet-50, as measured by `python -m claims.pilots`. At 32 pixels (`quick`) the nominal step
    failed in three of the twelve; at 64 (`standard`) it failed in ten, and a third of it in four.
    The step of `article` is provisional until its pilots have been run on a GPU.
    """
    return profile.pick(quick=1 / 3, standard=1 / 10, article=1 / 30)


def resnet_decoder(name: str, profile: Profile) -> Decoder:
    """The decoder with this name, for a ResNet."""
    match name:
        case "article":
            return ARTICLE
        case "article-nominal":
            return ARTICLE_WITHOUT_BLUR
        case "article-falling":
            return Descent(
                step=0.1 * falling_step(profile),
                factor=0.15,
                schedule="fixed",
                loss="l1",
            )
        case "adam":
            return Adam(rate=0.05)
        case "adam-blur":
            return Adam(rate=0.05, priors=(Blur(),))
        case "l-bfgs":
            return LBFGS()
        case _:
            raise ValueError(f"no decoder is named {name!r}")
