"""Sectioning: the same for each part of the work, all parts at once.

Run it with: python examples/sectioning.py
"""

from prong.harness import Swarm

FILES = ["README.md", "CHANGELOG.md", "docs/tools.md"]

if __name__ == "__main__":
    with Swarm(".", offline=True, agents=4) as swarm:
        for outcome in swarm.map("Measure {item}", FILES):
            print(outcome.result if outcome.done else f"{outcome.item}: {outcome.error}")
        spent = swarm.spent()
    print(f"{spent.calls} calls, {spent.tokens:,} tokens, {spent.cached / spent.tokens:.0%} of them from the cache")
