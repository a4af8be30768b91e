"""An evaluator and an optimizer: one agent writes, another judges, until it is good or the rounds are over.

Run it with: python examples/evaluator.py
"""

from prong.harness import Swarm

ROUNDS = 5
VERDICT = {
    "type": "object",
    "required": ["good", "advice"],
    "properties": {"good": {"type": "boolean"}, "advice": {"type": "string"}},
}

if __name__ == "__main__":
    with Swarm(".", offline=True, scripts=["examples/evaluator_script.py"]) as swarm:
        draft = swarm.submit("Write one sentence on what a fence is.").result()
        for number in range(1, ROUNDS + 1):
            verdict = swarm.submit(f"Judge this sentence as a newcomer would: {draft}", schema=VERDICT).result()
            print(f"round {number}: {draft} -> {'good' if verdict['good'] else verdict['advice']}")
            if verdict["good"]:
                break
            draft = swarm.submit(f"Write it better: {verdict['advice']} It was: {draft}").result()
        print(f"{swarm.spent().calls} calls")
