"""Where images come from: photographs, folders and dead leaves."""
