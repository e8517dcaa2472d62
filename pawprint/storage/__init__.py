"""How arrays and tables are kept in files: the same values give the same bytes."""
