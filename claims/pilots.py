"""The pilot that fixes the step of B8 and B10: `python -m claims.pilots [--profile NAME]`.

Pilot replicates have seeds that no claim uses. For every step of the grid it prints on how many of
twelve of them m_g halved at Conv5 of ResNet-50; the step is the largest at which it did on all.
"""

from __future__ import annotations

import argparse
import dataclasses

from claims.decoders import ARTICLE_WITHOUT_BLUR
from harness.cells import Draw, Inversion, Stream
from harness.plan import PROFILES, Profile
from harness.settings import Images, ResNet

GRID = (1, 1 / 3, 1 / 10, 1 / 30, 1 / 100)
"""Shares of the article's nominal step."""

REPLICATES = 12


def pilot(profile: Profile, *, share: float, replicate: int) -> Inversion:
    """The cell of one pilot replicate at one step."""
    return Inversion(
        draw=Draw(replicate=replicate, stream=Stream.PILOT),
        network=ResNet(name="resnet50", cut="layer4"),
        images=Images(pixels=profile.pick(quick=32, standard=64, article=299)),
        decoder=dataclasses.replace(ARTICLE_WITHOUT_BLUR, step=share * ARTICLE_WITHOUT_BLUR.step),
        iterations=profile.pick(quick=200, standard=500, article=500),
    )


def main() -> None:
    """Measure the grid from its largest step on, and stop at the first that halves m_g always."""
    parser = argparse.ArgumentParser(description="fix the step of B8 and B10 on pilot seeds")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    profile = Profile(parser.parse_args().profile)
    # Imported here, so that pytest's collection of this folder needs no torch.
    from harness.measure import measure

    for share in GRID:
        falls = []
        for replicate in range(REPLICATES):
            (found,) = measure([pilot(profile, share=share, replicate=replicate)], device="cpu")
            falls.append(found.values["m_g"] / found.values["m_g0"])
        halved = sum(fall <= 0.5 for fall in falls)
        print(
            f"{share:.3g} of the nominal step: m_g halved on {halved} of {REPLICATES}, "
            f"m_g(T) / m_g(0) at most {max(falls):.3g}"
        )
        if halved == REPLICATES:
            return


if __name__ == "__main__":
    main()
