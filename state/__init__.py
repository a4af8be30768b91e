"""The database that every process of a swarm shares."""
