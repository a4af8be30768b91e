"""An orchestrator: one agent decides what is to be done, forks an agent for each part, waits for them, and reports.

Run it with: python examples/orchestrator.py
"""

from prong.harness import Swarm

if __name__ == "__main__":
    with Swarm(".", offline=True, scripts=["examples/fan_out_script.py"], agents=4) as swarm:
        print(swarm.submit("Fan out").result())
        for task in swarm.cost().tasks:
            print(f"task {task.task} {task.title}: {task.context}, {task.spent.calls} calls")
