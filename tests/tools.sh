#!/usr/bin/env bash
# Installs what the black-box tests drive: Python clients into .venv, the Java client by Maven, kcat by apt where absent.
# Does nothing where all is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/requirements.sum
want=$(sha256sum tests/requirements.txt | cut -d' ' -f1)
if [ "$(cat $stamp 2>/dev/null)" != "$want" ]; then
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
  echo "$want" > $stamp
fi

if ! command -v kcat > /dev/null; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq && $sudo apt-get install -y -qq kcat
fi

jar=tests/java/target/norn-java-tests.jar
if [ ! -e "$jar" ] || [ -n "$(find tests/java/pom.xml tests/java/src -newer "$jar" -print -quit)" ]; then
  mvn -q -B -f tests/java/pom.xml package
fi
