"""The engine: finds an input whose outputs equal given ones."""
