"""Convolutions and their transposes in several forms, and which form a shape takes."""
