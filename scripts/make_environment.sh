#!/usr/bin/env bash
# Makes .venv with what the lock files name and nothing else. Argument: the stamp to leave when it is whole.
# uv comes first, from its own lock, because it is what installs the rest; pip serves only for that one step.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=$1
python=${PYTHON:-python3}

# Another environment may be active: its packages must not shine through.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "error: Python 3.11 or newer is needed; $python is $("$python" --version 2>&1). Set PYTHON=..." >&2
  exit 1
fi
scripts/system_packages.sh venv

echo "Making .venv (about 150 MB to download the first time)" >&2
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
  rm -rf .venv
  "$python" -m venv .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt

# Whoever pointed pip at a mirror or at a company's certificate meant uv too, which does not read pip's settings.
pip_setting() { .venv/bin/python -m pip config get "$1" 2>/dev/null || true; }
index=${PIP_INDEX_URL:-$(pip_setting global.index-url)}
certificates=${PIP_CERT:-$(pip_setting global.cert)}
if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}" ]; then export UV_DEFAULT_INDEX=$index; fi
if [ -n "$certificates" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE=$certificates; fi

uv() { .venv/bin/uv "$@" --python .venv/bin/python; }
uv pip install --quiet --require-hashes -r requirements/dev.txt
uv pip install --quiet --no-deps --no-build-isolation --editable .

rm -f .venv/.made-*
touch "$stamp"
