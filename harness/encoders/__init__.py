"""Networks as functions: outputs at a layer, and products with the Jacobian."""
