"""The pilots that fix steps: `python -m claims.pilots [--profile NAME] [--device D] [--trained]`.

Pilot replicates have seeds that no claim uses. For each step of the grid the script prints in
how many of twelve of them m_g halved at Conv5; the step to choose is the largest at which it did in
all. Without `--trained` the network is the ResNet-50 of B8 and B10, with it those of F1.
"""

from __future__ import annotations

import argparse
import dataclasses

from claims.trained import network
from harness.lab.lab import Custom, Lab
from harness.plan.cells import Inversion
from harness.plan.decoders import ARTICLE_WITHOUT_BLUR
from harness.plan.images import Images
from harness.plan.networks import ResNet
from harness.plan.profile import PROFILES, Profile
from harness.plan.seeds import ReplicateSeeds, Stream

GRID = (1, 1 / 3, 1 / 10, 1 / 30, 1 / 100)
"""Shares of the article's nominal step."""

REPLICATES = 12


def pilot(
    profile: Profile, *, share: float, replicate: int, trained: ResNet | None = None
) -> Inversion:
    """The cell of one pilot replicate at one step, by default of an untrained ResNet-50."""
    return Inversion(
        seeds=ReplicateSeeds(replicate=replicate, stream=Stream.PILOT),
        network=trained or ResNet(name="resnet50", layer="layer4"),
        images=Images(pixels=profile.pick(quick=32, standard=64, article=299)),
        decoder=dataclasses.replace(ARTICLE_WITHOUT_BLUR, step=share * ARTICLE_WITHOUT_BLUR.step),
        iterations=profile.pick(quick=200, standard=500, article=500),
    )


def main() -> None:
    """Try the steps from the largest down, and stop at the first that always halves m_g."""
    parser = argparse.ArgumentParser(description="fix steps on pilot seeds")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--trained", action="store_true", help="the networks of F1 instead of B8 and B10"
    )
    given = parser.parse_args()
    profile = Profile(given.profile)
    lab = Lab(
        profile=profile, custom=Custom(), precision="float32", parameters={}, receive=lambda _: None
    )
    trained = network(lab, "layer4", trained="photographs") if given.trained else None
    # Imported here, so that pytest's collection of this folder needs no torch.
    from harness.measurements.measure import measure

    for share in GRID:
        falls = []
        for replicate in range(REPLICATES):
            (found,) = measure(
                [pilot(profile, share=share, replicate=replicate, trained=trained)],
                device=given.device,
            )
            falls.append(found.values["m_g"] / found.values["m_g0"])
        halved = sum(fall <= 0.5 for fall in falls)
        print(
            f"{share:.3g} of the nominal step: m_g halved in {halved} of {REPLICATES}, "
            f"m_g(T) / m_g(0) at most {max(falls):.3g}"
        )
        if halved == REPLICATES:
            return


if __name__ == "__main__":
    main()
