"""The judgement: problems, checks, workers, results. Imports no framework."""
