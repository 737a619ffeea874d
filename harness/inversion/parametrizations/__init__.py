"""What a decoder moves in place of pixels."""
