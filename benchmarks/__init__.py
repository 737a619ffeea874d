"""How fast an image is reconstructed, next to what the machine could do."""

import warnings

with warnings.catch_warnings():
    # torch.fx's fusion, which folds BatchNorm, imports a module that uses torch's own deprecated
    # decorator; where a warning is an error, that would end the import.
    warnings.filterwarnings("ignore", "`torch.jit.script_method`", DeprecationWarning)
    import harness.subjects.resnet  # noqa: F401
