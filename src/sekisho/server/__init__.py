"""`sekishod`: the server's own commands. People use `sekisho`; this one is for whoever runs the machine."""

from sekisho.server.commands import main as main
