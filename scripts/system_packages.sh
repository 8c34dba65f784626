#!/usr/bin/env bash
# Looks for the programs that Python packages cannot bring. As root on Debian it installs what is missing;
# otherwise it prints the one command to type. Argument: what for (venv, run, slurm or test).
# Exit status 1 where going on would be pointless: no venv module, or anything missing while CI=true.
set -euo pipefail

purpose=$1
python=${PYTHON:-python3}
missing=()

need() { # package, then a command that succeeds when it is there
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
have() { command -v "$1"; }
have_any() { for name in "$@"; do have "$name" && return; done; return 1; }
have_initdb() { have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb'; }
have_slurm_tokens() { compgen -G '/usr/lib/*/slurm-wlm/auth_jwt.so'; }
have_japanese_font() { compgen -G '/usr/share/fonts/opentype/ipafont-gothic/*' || { have fc-list && fc-list :lang=ja | grep .; }; }
need_slurm() {
  local PATH=$PATH:/usr/sbin
  need slurmctld have slurmctld
  need slurmd have slurmd
  need slurm-client have scontrol
  need slurmrestd have slurmrestd
  need slurmdbd have slurmdbd
  need slurm-wlm-jwt-plugin have_slurm_tokens
  need munge have munged
  need mariadb-server have mariadbd
}

case $purpose in
  venv)
    need python3-venv "$python" -c 'import ensurepip, venv'
    ;;
  run)
    need bubblewrap have bwrap
    need iproute2 have ip
    need softhsm2 have softhsm2-util
    ;;
  slurm)
    need bubblewrap have bwrap
    need iproute2 have ip
    need softhsm2 have softhsm2-util
    need_slurm
    ;;
  test)
    need bubblewrap have bwrap
    need iproute2 have ip
    need chromium have_any chromium chromium-browser google-chrome
    need fonts-ipafont-gothic have_japanese_font
    need postgresql have_initdb
    need softhsm2 have softhsm2-util
    need linux-libc-dev test -e /usr/include/asm-generic/unistd.h
    need nodejs have node
    need npm have npm
    need_slurm
    ;;
  *)
    echo "usage: $0 venv|run|slurm|test" >&2
    exit 2
    ;;
esac

[ ${#missing[@]} -gt 0 ] || exit 0

install="apt-get install --yes --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "Installing: ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  # Fresh machines have no package lists; others have them and save the time.
  if $install >/dev/null 2>&1 || { apt-get update >/dev/null && $install >/dev/null; }; then
    exit 0
  fi
  echo "error: could not install ${missing[*]}" >&2
else
  echo "missing: ${missing[*]}" >&2
  echo "hint: sudo $install" >&2
fi

case ${CI:-} in
  1 | true | TRUE | True) exit 1 ;;
esac
if [ "$purpose" = venv ]; then exit 1; fi
echo "Going on without: what needs them says so." >&2
