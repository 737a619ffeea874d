"""The engine: find an input whose output equals a given one."""
