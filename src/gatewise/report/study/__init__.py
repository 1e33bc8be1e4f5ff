"""Pages and tables of studies."""
