"""Conditions of a claim as its test states them, measured and judged."""
