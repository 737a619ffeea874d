"""Reports of a run: what was found, as HTML, JSON, CSV, Markdown and console text.

Reads results and stored records; measures nothing and imports no torch.
"""
