"""Why a task is where it is, in plain sentences."""
