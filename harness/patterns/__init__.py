"""The patterns that people reach for first: sectioning, voting, map-reduce, and functions as tasks, from Python."""
