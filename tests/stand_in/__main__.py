"""`python -m stand_in zoo`: one scenario, in a process of its own; its last line is JSON."""

import importlib
import json
import sys

import stand_in

if __name__ == "__main__":
    stand_in.install()
    scenarios = importlib.import_module("stand_in.scenarios")  # imports CuPy
    with scenarios.tg.use_backend("cupy"):
        print(json.dumps(scenarios.SCENARIOS[sys.argv[1]](*sys.argv[2:])))
