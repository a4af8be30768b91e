"""The repository: the user's own, the agents' clones of it, and the line of what is merged."""
