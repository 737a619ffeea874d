"""The claims of the article: one or more files per section, one or more tests per claim."""
