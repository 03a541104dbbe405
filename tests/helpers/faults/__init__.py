"""Commands that are killed, starved and disturbed, and what is left of their work afterwards."""
