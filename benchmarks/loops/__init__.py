"""Ways to recover images step by step: the engine, its peers, and the plain loop between them."""
