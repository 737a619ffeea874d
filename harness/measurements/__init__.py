"""Measurements of cells, a module for each kind."""
