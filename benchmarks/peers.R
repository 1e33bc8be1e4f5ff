# Rscript peers.R data.csv formula gate family k shared posterior.csv: the best of ten starts of flexmix, and of mixtools
# where it has the model. Prints for each a line with its name, version, CPU seconds and log-likelihood, and for flexmix
# the log-likelihood with the standard deviations of maximum likelihood, and writes its posterior probabilities; NA where
# mixtools does not have the model.
suppressPackageStartupMessages(library(flexmix))
given <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(given[1])
formula <- as.formula(given[2])
gate <- as.formula(given[3])
k <- as.integer(given[5])
shared <- given[6] == "TRUE"
gaussian <- given[4] == "gaussian"

best <- function(value, fit) {
  tried <- function() tryCatch(fit(), error = function(problem) NULL) # NULL: a start that collapses
  invisible(tried()) # compiles what R compiles on first use
  set.seed(1)
  begin <- proc.time()
  kept <- NULL
  for (start in 1:10) {
    one <- tried()
    if (!is.null(one) && (is.null(kept) || value(one) > value(kept))) kept <- one
  }
  spent <- proc.time() - begin
  list(fit = kept, seconds = spent[["user.self"]] + spent[["sys.self"]], value = value(kept))
}

said <- function(name, seconds = NA, value = NA, with_ml_scales = NA) {
  cat("\nresult", name, format(packageVersion(name)), sprintf("%.10f", c(seconds, value, with_ml_scales)), "\n")
}

# The standard deviations of flexmix have a divisor of n - p or the like; those of maximum likelihood follow from the
# posterior probabilities.
with_ml_scales <- function(fit) {
  found <- parameters(fit)
  mean <- x %*% found[rownames(found) != "sigma", , drop = FALSE]
  weight <- posterior(fit)
  squares <- colSums(weight * (y - mean)^2)
  sigma <- sqrt(if (shared) rep(sum(squares) / nrow(x), fit@k) else squares / colSums(weight))
  prior <- matrix(1, nrow(x), fit@k)
  if (fit@k > 1) prior <- exp(fit@concomitant@x %*% parameters(fit, which = "concomitant"))
  density <- sapply(seq_len(fit@k), function(j) dnorm(y, mean[, j], sigma[j]))
  sum(log(rowSums(prior / rowSums(prior) * density)))
}

x <- model.matrix(formula, rows)
y <- rows[[all.vars(formula)[1]]]
found <- best(function(fit) as.numeric(logLik(fit)), function() {
  model <- if (shared) FLXMRglmfix(family = "gaussian", varFix = TRUE) else FLXMRglm(family = given[4])
  flexmix(formula, data = rows, k = k, model = model, concomitant = FLXPmultinom(gate),
          control = list(iter.max = 2000, tolerance = 1e-10, minprior = 0))
})
write.csv(posterior(found$fit), given[7], row.names = FALSE)
said("flexmix", found$seconds, found$value, if (gaussian) with_ml_scales(found$fit) else NA)

if (requireNamespace("mixtools", quietly = TRUE)) {
  if (gaussian && k > 1 && length(all.vars(gate)) == 0) {
    found <- best(function(fit) fit$loglik, function() {
      mixtools::regmixEM(y, x[, -1, drop = FALSE], k = k, arbvar = !shared)
    })
    said("mixtools", found$seconds, found$value)
  } else {
    said("mixtools")
  }
}
