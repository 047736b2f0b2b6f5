"""Commands of the console program."""
