"""Where a fit begins and how it goes on: starts, moves, kinks, variable projection."""
