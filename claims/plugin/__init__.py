"""The pytest plugin: options, session, progress, and the registry of claims."""
