"""`sekisho completion SHELL`: a script that asks this program for words, so that it never falls behind it."""

from __future__ import annotations

from typing import Any

from sekisho_client.session import Session

_BASH = """\
_sekisho() {
  local IFS=$'\\n'
  COMPREPLY=($(sekisho __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _sekisho sekisho
"""
_ZSH = """\
#compdef sekisho
_sekisho() {
  local -a found
  local word about
  while IFS=$'\\t' read -r word about; do
    found+=("${word//:/\\\\:}:${about}")
  done < <(sekisho __complete "${words[@]:1:$((CURRENT-1))}" 2>/dev/null)
  if (( ${#found} )); then _describe sekisho found; else _files; fi
}
compdef _sekisho sekisho
"""
_FISH = """\
function __sekisho_complete
  set -l words (commandline -opc) (commandline -ct)
  sekisho __complete $words[2..-1] 2>/dev/null
end
complete -c sekisho -a '(__sekisho_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run(session: Session, values: dict[str, Any]) -> int:
    """Print the script; as JSON it is one member, because standard output holds nothing else then."""
    script = SCRIPTS[values["shell"]]
    if session.screen.as_json:
        session.screen.json({"shell": values["shell"], "script": script})
    else:
        session.screen.out.write(script)
    return 0
