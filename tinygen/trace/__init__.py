"""One recording, many readers: what a function of tensors computes, as data.

record.py keeps a rehearsal as calls on numbered storages, tree.py takes arguments and results
apart. plan/ replays a recording fast.
"""
