"""Images of replicates and their sources: photographs, folders, digits, dead leaves; starts."""
