"""The decoders, each as a start and a step."""
