"""A run in words: console, Markdown, badge and citation."""
