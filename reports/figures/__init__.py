"""Figures: charts, galleries and the geometry of small drawings."""
