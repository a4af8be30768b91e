"""Plans: graphs of tasks that a person or a model writes down, and a swarm then runs."""
