"""Several processes that train together: how they join, how each is attended, and how all end when one fails.

A process is two: a small one that the user starts and that says the last word (`attendant`), and its child, which works
(`link` joins them). In each child a thread (`watch`) tells the others by a common store (`store`) how far it is
(`activity`), and learns from it what process 0 has found out about them all (`judgement`).
"""
