"""One module per engine; all of them keep the promise written in `contract`."""
