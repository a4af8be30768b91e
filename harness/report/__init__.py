"""The closing report of a swarm: `facts` reads it, `markdown` and `page` write it, `timeline` draws it."""
