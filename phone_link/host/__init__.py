"""The computer's end of the link (CSP*): identity, paired phones, pairing, sessions.

Import what is needed from its module: `identity`, `phone_book`, `session`, `pair`, `connect`.
"""
