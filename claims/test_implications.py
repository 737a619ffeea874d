"""Implications of imperfect input representation."""

from __future__ import annotations

import pytest

from claims.exact import search
from claims.test_noninvertible_maps import NONE
from harness.claim import Claim, Criterion, exact, untestable
from harness.lab.lab import Lab

SECTION = "Implications of imperfect input representation"

H1 = Claim(
    id="H1",
    statement="Where there are fewer classes than input elements, the output cannot force an "
    "exact reconstruction of the input.",
    section=SECTION,
    source="necessarily all the information from the input does not reach the output such that "
    "backpropegation cannot instruct the network to exactly copy an input",
    method="Freshly drawn networks with ReLUs, one to three hidden layers of up to 48 units, up "
    "to 24 inputs and fewer classes than inputs; the Jacobian at a random input in float64. Its "
    "rank is the number of independent directions in which the output responds to the input; all "
    "others are free.",
    estimands={
        "rank": exact(
            "The rank of the Jacobian is at most the number of classes.",
            Criterion(effect="residual", label="rank beyond the number of classes", below=NONE),
        )
    },
)

H2 = Claim(
    id="H2",
    statement="Self-attention and MLP-mixer blocks are not invertible.",
    section=SECTION,
    source="Transformers use stacks of self-attention and feed-forward fully connected units to "
    "create representations of inputs, both of which are typically non-invertible",
    method="Freshly drawn blocks in float64 on two to six tokens of three to eight channels: "
    "self-attention alone, a transformer's block (self-attention and MLP, each after a LayerNorm "
    "and inside a residual connection) and an MLP-mixer's. Each has as many outputs as inputs. "
    "If the statement held, the Jacobian at an input would not have full rank; full rank shows "
    "that nothing near the input has the same output. The article's reason, that one output "
    "vector may be any of many combinations, is about one output vector alone, not about all of "
    "them together.",
    estimands={
        "rank": exact(
            "The Jacobian at a random input is not of full rank.",
            Criterion(effect="residual", label="blocks of full rank", below=NONE),
        )
    },
)

H3 = Claim(
    id="H3",
    statement="The theory explains why autoencoders have a narrow middle and grow wider after it.",
    section=SECTION,
    source="they also typically do not want to lose information between the latent space and "
    "output, which may be why an increasing-size architecture has been found to be so "
    "successful",
    method="Listed, not measured.",
    estimands={
        "none": untestable(
            "it is about why people chose an architecture, and every outcome of a measurement "
            "would agree with it"
        )
    },
)

F8 = Claim(
    id="F8",
    statement="Training re-arranges the inputs that share a representation so that what matters "
    "(a dog's snout and nose) is found in it.",
    section="The effect of training on layer approximation accuracy",
    source="during training the possible inputs that make some representation close to the target"
    " tensor are re-arranged such that the important pieces of information (in the above "
    "case the snout and nose of a dog) are found in the representation",
    method="Listed, not measured.",
    estimands={
        "none": untestable(
            "it reads one picture after the fact: which details matter is not said beforehand, so "
            "that whatever is found in a representation would confirm it"
        )
    },
)


def test_h1_fewer_classes_than_inputs(lab: Lab) -> None:
    search(lab, H1, "classes bound the rank")


@pytest.mark.parametrize("block", ["attention", "transformer", "mixer"])
def test_h2_blocks_are_not_invertible(lab: Lab, block: str) -> None:
    search(lab, H2, f"rank of {block} block")


def test_h3_shapes_of_autoencoders(lab: Lab) -> None:
    lab.record(H3)


def test_f8_training_finds_snout_and_nose(lab: Lab) -> None:
    lab.record(F8)
