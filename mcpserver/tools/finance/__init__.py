"""Finance: loans, investments, accounts."""
