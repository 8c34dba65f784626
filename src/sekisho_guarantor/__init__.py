"""Programs of organisations that vouch for what they saw, or hold what others must not: witness, landmark, custodian.

Runs at somebody who is not the log's operator, and shares no key, database or machine with it.
"""
