"""Estimates, tests, sequential looks and multiplicity."""
