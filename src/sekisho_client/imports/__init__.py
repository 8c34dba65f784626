"""Job files of other systems, as job files of ours: SkyPilot tasks, sbatch scripts, Kubernetes Jobs and JobSets.

What has no equivalent is refused by its own name, all of it at once; nothing is dropped. What is kept in another way is
told as a note.
"""

from sekisho_client.imports.formats import Translated as Translated
from sekisho_client.imports.formats import translate as translate
