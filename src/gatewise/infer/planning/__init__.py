"""Plans: how many rows are needed for what is to be known."""
