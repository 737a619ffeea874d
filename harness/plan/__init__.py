"""What is to be measured, as frozen values: settings, cells, their identities, costs and order."""
