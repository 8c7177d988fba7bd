# shellcheck shell=bash
# Installs SDKs of other projects, one folder a language. Sourced after common.sh, with WHAT (words for messages), SOURCES (what is
# pinned, a folder a language), FOLDER (where to install), LANGUAGES, and a function install_LANGUAGE for each that is not here.

# Each one installs into the folder that it is given.
install_python() {
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check -r "$SOURCES/python/requirements.txt"
}

install_javascript() {
  cp "$SOURCES"/javascript/package*.json "$1/"
  (cd "$1" && npm ci --silent --no-audit --no-fund --ignore-scripts)
}

# What is installed is named by a digest of what it was made from.
digest_of() { (cd "$SOURCES/$1" && cat -- *) | sha256sum | cut -c 1-16; }

install_language() {
  local name=$1 digest
  digest=$(digest_of "$name")
  [ "$(cat "$FOLDER/$name/.complete" 2>/dev/null)" != "$digest" ] || return 0
  step "$WHAT for $name"
  rm -rf "${FOLDER:?}/$name"
  mkdir -p "$FOLDER/$name"
  "install_$name" "$FOLDER/$name"
  echo "$digest" > "$FOLDER/$name/.complete"
}

# install_sdks [LANGUAGE...]: all of LANGUAGES by default. A language whose pinned versions are installed is skipped.
install_sdks() {
  local name
  mkdir -p "$FOLDER"
  exec 9> "$FOLDER/.install.lock"
  flock 9
  # shellcheck disable=SC2086  # a list of words
  [ $# -gt 0 ] || set -- $LANGUAGES
  for name in "$@"; do
    [ -d "$SOURCES/$name" ] || die "$WHAT: there is none for \"$name\"; use ${LANGUAGES// /, }"
    install_language "$name"
  done
}
