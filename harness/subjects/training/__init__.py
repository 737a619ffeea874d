"""Networks trained here: what they learn, how, and where their weights are kept."""

from harness.subjects.training.keep import ensure_trained

__all__ = ["ensure_trained"]
