"""DKIM, ARC and developer signatures: read, verified, and put into verdicts."""
