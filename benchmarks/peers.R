# Rscript peers.R data.csv formula gate family k: the best of ten starts of flexmix; prints seconds and log-likelihood.
suppressPackageStartupMessages(library(flexmix))
given <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(given[1])
set.seed(1)
begin <- proc.time()
fit <- initFlexmix(as.formula(given[2]), data = rows, k = as.integer(given[5]), nrep = 10, verbose = FALSE,
                   model = FLXMRglm(family = given[4]), concomitant = FLXPmultinom(as.formula(given[3])),
                   control = list(iter.max = 2000, tolerance = 1e-10, minprior = 0))
spent <- proc.time() - begin
cat("seconds", spent[["user.self"]] + spent[["sys.self"]], "\n")
cat("log_likelihood", sprintf("%.10f", as.numeric(logLik(fit))), "\n")
