"""Ways to reconstruct images step by step: the engine, its peers and the plain loop."""
