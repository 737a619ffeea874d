"""What is measured: networks, cuts, images, training."""
