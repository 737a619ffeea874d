"""The claims of the article: one file per section, one test per claim."""
