"""gatewise: mixtures of experts in which the gate is a choice and the estimate comes with a certificate."""
