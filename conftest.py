"""Options and fixtures of the claims; see claims/plugin/hooks.py."""

pytest_plugins = ("claims.plugin.hooks",)
