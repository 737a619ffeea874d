"""Two runs side by side, and the effects of many over time."""
