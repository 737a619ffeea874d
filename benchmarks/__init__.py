"""How fast an image is reconstructed, next to what the machine could do."""
