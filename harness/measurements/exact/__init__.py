"""Exact statements: what examples they speak of, and by how much an example breaks them."""
