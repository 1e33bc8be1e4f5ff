"""What is fitted: rows, parameters as one free vector, log-likelihood and squares, their derivatives and sums."""
