"""Where a fit begins and how it goes on: starts, insertion of experts, kinks, variable projection."""
