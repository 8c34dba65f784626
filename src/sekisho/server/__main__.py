"""`python -m sekisho.server`: the same as `sekishod`."""

import sys

from sekisho.server.commands import main

sys.exit(main())
