"""From the replicates of a condition to its verdict, and the verdicts that are locked."""
