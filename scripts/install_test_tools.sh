#!/usr/bin/env bash
# Installs the outside programs that tests use, where this is root on Debian or Ubuntu: dciodvfy (dicom3tools), which
# checks DICOM objects, Chromium, in which the viewer's pages are driven, and Orthanc with DICOMweb, a real PACS.
# Elsewhere the tests that need one of them are skipped and say so.
set -euo pipefail
missing=()
command -v dciodvfy >/dev/null || missing+=(dicom3tools)
command -v chromium >/dev/null || missing+=(chromium)
command -v Orthanc >/dev/null || missing+=(orthanc)
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc-dicomweb)
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed: ${missing[*]}; the tests that need them are skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; }
if ! install && ! { apt-get update -qq >/dev/null 2>&1 && install; }; then
  echo "apt could not install ${missing[*]}; the tests that need them are skipped"
fi
