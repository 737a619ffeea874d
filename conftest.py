"""Options and fixtures of the claims; see claims/plugin.py."""

pytest_plugins = ("claims.plugin",)
