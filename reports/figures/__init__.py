"""Figures: charts, galleries and their geometry."""
