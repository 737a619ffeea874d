"""Reports of a run as HTML, JSON, CSV, Parquet, Markdown and console text.

They read results and stored records, measure nothing and import no torch.
"""
