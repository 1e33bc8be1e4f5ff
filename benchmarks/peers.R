# Rscript peers.R data.csv formula gate family k: the best of ten starts of flexmix; prints seconds and log-likelihood.
suppressPackageStartupMessages(library(flexmix))
given <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(given[1])
set.seed(1)
begin <- proc.time()
fit <- NULL
for (start in 1:10) {
  one <- tryCatch(
    flexmix(as.formula(given[2]), data = rows, k = as.integer(given[5]), model = FLXMRglm(family = given[4]),
            concomitant = FLXPmultinom(as.formula(given[3])),
            control = list(iter.max = 2000, tolerance = 1e-10, minprior = 0)),
    error = function(problem) NULL) # a start that collapses
  if (is.null(fit) || (!is.null(one) && as.numeric(logLik(one)) > as.numeric(logLik(fit)))) fit <- one
}
spent <- proc.time() - begin
cat("seconds", spent[["user.self"]] + spent[["sys.self"]], "\n")
cat("log_likelihood", sprintf("%.10f", as.numeric(logLik(fit))), "\n")
