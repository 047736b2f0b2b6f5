#!/usr/bin/env bash
# Installs the outside DICOM checker of the tests (dciodvfy, of dicom3tools) where this is root on Debian or Ubuntu.
# Elsewhere the tests that need it are skipped and say so.
set -euo pipefail
if command -v dciodvfy >/dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "dciodvfy (apt package dicom3tools) is not installed: the tests that need it are skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get install -qq -y --no-install-recommends dicom3tools >/dev/null 2>&1 ||
  { apt-get update -qq >/dev/null 2>&1 && apt-get install -qq -y --no-install-recommends dicom3tools >/dev/null 2>&1; }; }; then
  echo "apt could not install dicom3tools: the tests that need dciodvfy are skipped"
fi
