"""What a decoder can move instead of pixels."""
