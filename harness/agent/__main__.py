"""The nursery of a swarm: `python -m prong.harness.agent SOCKET`, from which its agents are forked."""

import gc

from prong.agents import sdk

if __name__ == "__main__":
    gc.disable()  # what is read now is for good, and looking through it again and again takes a fifth of the time
    sdk.on_demand()
    from prong.harness.agent.process import be_nursery

    be_nursery()
