"""`phonevault doctor`: what of this computer phonevault needs, and whether it is so.

Each module looks at one thing: a thin probe that reads facts and a pure judgement over them.
"""
