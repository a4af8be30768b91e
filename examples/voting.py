"""Voting: the same question to several agents; it stops as soon as the others could change nothing.

Run it with: python examples/voting.py
"""

from prong.harness import Swarm

if __name__ == "__main__":
    with Swarm(".", offline=True, agents=1) as swarm:
        vote = swarm.vote("Does every page in docs/ say when not to use what it tells of?", n=5, choices=["no", "yes"])
    print(f"{vote.answer}: {vote.why}; {vote.saved} votes were not needed")
    print(f"the votes beside the first cost {vote.extra_tokens:,} of {vote.tokens:,} tokens")
