"""What is measured: networks, images, training."""
