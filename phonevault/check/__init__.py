"""`phonevault check`: is a vault whole? Findings, the walk over the ciphertext that makes them, and their repair."""
