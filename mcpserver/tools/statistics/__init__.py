"""Statistics: samples, tests, models, plans of studies."""
