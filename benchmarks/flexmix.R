# Rscript flexmix.R data.csv k seed: one fit from one random start; prints CPU seconds, passes, numbers, parameters.
options(warn = 1)
suppressPackageStartupMessages(library(flexmix))
given <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(given[1])
gate <- reformulate(setdiff(names(rows), "y"))

fitted_to <- function(rows, k) {
  flexmix(y ~ ., data = rows, k = k, model = FLXMRglm(family = "gaussian"), concomitant = FLXPmultinom(gate),
          control = list(iter.max = 1000, tolerance = 1e-6))
}

set.seed(1)
invisible(fitted_to(rows[1:500, ], 2)) # compiles what R compiles on first use
invisible(gc())
set.seed(as.integer(given[3]))
begin <- proc.time()
fit <- fitted_to(rows, as.integer(given[2]))
spent <- proc.time() - begin

show <- function(name, values) cat(name, sprintf("%.17g", as.vector(values)), "\n")
show("seconds", spent[["user.self"]] + spent[["sys.self"]])
show("passes", fit@iter)
show("converged", as.integer(fit@converged))
show("experts", fit@k)
show("log_likelihood", as.numeric(logLik(fit)))
component <- parameters(fit)
show("coef", component[rownames(component) != "sigma", ]) # by component: intercept, slopes
show("sigma", component["sigma", ])
if (fit@k > 1) show("gate", parameters(fit, which = "concomitant")) # by component: intercept, slopes
cat("versions R", paste(R.version$major, R.version$minor, sep = "."), "flexmix", format(packageVersion("flexmix")), "\n")
