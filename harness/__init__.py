"""The harness: from a claim to a verdict, by way of measurements."""
