"""The rules of a repository: `PRONG.md`, read, checked, and watched while a swarm runs."""
