"""A run as a document and as tables, written, read and archived."""
