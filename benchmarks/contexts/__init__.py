"""What children begin with, and what that costs: the parts of the benchmark `economics`."""
