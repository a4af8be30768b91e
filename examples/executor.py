"""An executor: functions and prompts as tasks of one swarm, with the standard library's futures.

Run it with: python examples/executor.py
"""

from concurrent.futures import as_completed
from pathlib import Path

from prong.harness import Swarm


def count(name: str) -> int:
    """Run in an agent's process, in a clone of the repository."""
    return len(Path(name).read_text("utf-8").splitlines())


if __name__ == "__main__":
    with Swarm(".", offline=True, agents=3) as swarm:
        futures = {swarm.submit(count, name): name for name in ("LICENSE", "pyproject.toml")}
        futures[swarm.submit("Measure CHANGELOG.md")] = "an agent"
        results = {futures[future]: future.result() for future in as_completed(futures)}
        print(*(f"{name}: {results[name]}" for name in futures.values()), sep="\n")
        try:
            swarm.submit(count, "missing").result()
        except FileNotFoundError as error:
            print(f"raised here as it was there: {error}")
