"""Programs of organisations that vouch for what they saw: today the witness of transparency logs.

Runs at somebody who is not the log's operator, and shares no key, database or machine with it.
"""
