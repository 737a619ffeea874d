"""Convolutions and their transposes by several algorithms, and which of them a shape takes."""
