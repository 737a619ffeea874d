"""What is to be measured, as frozen values: cells, settings, identities, seeds, costs and order."""
