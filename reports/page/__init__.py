"""Views of a run: what the templates of the page show, as frozen values."""
