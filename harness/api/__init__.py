"""The public API: invert a layer of any network, and what comes of it."""
