"""The mathematics: scores, links, gates, trees, experts, families, mixtures and their derivatives. torch only."""
