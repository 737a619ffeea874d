"""Networks trained here: what they learn, how, and where their weights are stored."""
