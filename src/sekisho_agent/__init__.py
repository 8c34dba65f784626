"""The site's own program: pulls what is placed at its site, walls it in, runs it, and says what happened.

Parts of this package run inside the wall under a bare interpreter (`inside`, `canaries`, `forward`): this file
therefore imports nothing.
"""
