"""Read and verify DKIM, ARC and developer signatures, with a `Verdict` for each."""
