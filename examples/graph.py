"""A graph: a task begins when those that it needs are done, and is told what came of them.

Run it with: python examples/graph.py
"""

from prong.harness import Swarm

if __name__ == "__main__":
    with Swarm(".", offline=True, agents=3) as swarm:
        pages = swarm.submit("Measure docs/tools.md")
        rules = swarm.submit("Measure docs/rules.md")
        both = swarm.submit("Add up what was measured.", needs=[pages, rules])
        print(pages.result(), rules.result(), both.result(), sep="\n")
