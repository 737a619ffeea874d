"""The decoders, each as a first state and a step."""
