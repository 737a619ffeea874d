"""A run in words: console, Markdown and badge."""
