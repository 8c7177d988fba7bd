#!/usr/bin/env bash
# Resolves the Apache RocketMQ servers and mqadmin with Maven into $CACHE/rocketmq/lib-VERSION.
#   install.sh [VERSION...]      default: every version of versions.env
# Idempotent: a version whose folder is complete is skipped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# The broker of 5.x is started together with its gRPC proxy, which has its own artifacts.
artifacts_of() {
  case $1 in
    4.*) echo rocketmq-namesrv rocketmq-broker rocketmq-tools ;;
    *) echo rocketmq-namesrv rocketmq-broker rocketmq-proxy rocketmq-controller rocketmq-tools rocketmq-container ;;
  esac
}

write_pom() { # VERSION FILE
  local artifact
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>dev.rocketmq.connector.test</groupId><artifactId>servers</artifactId><version>1</version><packaging>pom</packaging>'
    echo '<dependencies>'
    for artifact in $(artifacts_of "$1"); do
      echo "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>$artifact</artifactId><version>$1</version></dependency>"
    done
    echo '</dependencies></project>'
  } > "$2"
}

install_version() {
  local version=$1 libraries=$CACHE/rocketmq/lib-$1 pom_folder=$CACHE/rocketmq/pom-$1
  [ ! -f "$libraries/.complete" ] || return 0
  step "RocketMQ $version: resolving with Maven"
  mkdir -p "$pom_folder"
  write_pom "$version" "$pom_folder/pom.xml"
  (cd "$pom_folder" && nice -n 5 mvn -q -B \
    "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DoutputDirectory="$libraries" -DincludeScope=runtime)
  [ -f "$libraries/rocketmq-broker-$version.jar" ] || die "rocketmq-broker-$version.jar is not in $libraries; remove $pom_folder and try again"
  touch "$libraries/.complete"
}

mkdir -p "$CACHE/rocketmq"
exec 9> "$CACHE/rocketmq/.install.lock"
flock 9
command -v mvn >/dev/null || die "mvn is not on PATH; install Maven and JDK 17"
# shellcheck disable=SC2086  # a list of versions
[ $# -gt 0 ] || set -- $ROCKETMQ_VERSIONS
for version in "$@"; do install_version "$version"; done
