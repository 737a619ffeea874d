"""Exact statements: their examples, and by how much an example violates them."""
