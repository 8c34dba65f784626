"""Sekisho's control plane: decisions, queue, ledger, pillars and console behind one gate."""
