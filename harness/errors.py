"""Errors that a person can cause: the value, the rule it breaks, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DepthClaimsError(Exception):
    """Base of every error that a person can cause and mend.

    Parameters
    ----------
    value : object
        What was given, as the person wrote it.
    rule : str
        The rule that the value breaks.
    remedy : str
        What to do about it.
    """

    def __init__(self, value: object, *, rule: str, remedy: str) -> None:
        super().__init__(value, rule, remedy)
        self.value = value
        self.rule = rule
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.value, self.rule, self.remedy)

    def __str__(self) -> str:
        return f"{self.value}: {self.rule}. {self.remedy}"


def _rebuild(
    kind: type[DepthClaimsError], value: object, rule: str, remedy: str
) -> DepthClaimsError:
    """Restore an error in another process, where keyword-only arguments do not pickle."""
    return kind(value, rule=rule, remedy=remedy)


class UnknownNameError(DepthClaimsError):
    """An unknown name."""

    @classmethod
    def nearest(cls, name: str, valid: Iterable[str], *, what: str) -> UnknownNameError:
        """The error for `name`; its remedy lists the valid names, the most similar ones first."""
        names = list(valid)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        ordered = dict.fromkeys([*near, *names])
        remedy = f"Choose {' or '.join(ordered)}" if names else "Leave it out: there is none"
        return cls(repr(name), rule=f"no such {what}", remedy=remedy)


class DeviceError(DepthClaimsError):
    """A device that is missing or cannot be used."""


class ImageError(DepthClaimsError):
    """An image, or a folder of images, that cannot be used."""


class ModuleError(DepthClaimsError):
    """A module that cannot serve as an encoder."""


class WeightsError(DepthClaimsError):
    """A weights file that cannot be read, is not safe, or does not fit the network."""

    @classmethod
    def unreadable(cls, path: object, error: OSError) -> WeightsError:
        """The error for a file that the system does not let us read."""
        return cls(
            path,
            rule=f"the weights file cannot be read ({error.strerror or error})",
            remedy="Give a file with a state dict, saved by torch.save or safetensors",
        )


class RecoveryError(DepthClaimsError):
    """A saved recovery that cannot be written or read."""


class StoreError(DepthClaimsError):
    """A store that cannot be written, or a record in it that cannot be read."""


class LockError(DepthClaimsError):
    """A file of locked verdicts that cannot be read."""


class ClaimError(DepthClaimsError):
    """A malformed claim."""


class SettingError(DepthClaimsError):
    """Settings of a measurement that contradict each other or are out of range."""


class SpectrumError(DepthClaimsError):
    """A Jacobian whose spectrum cannot be computed: too large, too imprecise or not finite."""


class ExecutorError(DepthClaimsError):
    """An executor that cannot be started, or whose workers cannot measure the cells."""


class WorkerError(DepthClaimsError):
    """Cells that cannot be measured because every worker that tried has died."""


class OptionError(DepthClaimsError):
    """A command-line option with a value that it cannot take."""


class StuckWarning(UserWarning):
    """A decoder never left its start: what it returns says nothing about the layer."""
