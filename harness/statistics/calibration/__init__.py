"""Calibration: the whole decision procedure in worlds whose truth is known."""
