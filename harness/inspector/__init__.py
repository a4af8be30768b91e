"""The inspector: a swarm in the browser, read beside its writers and steered through one door."""
