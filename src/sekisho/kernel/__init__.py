"""The few things every capability needs: gate, transactions, commands, clock, ids. Knows no capability."""
