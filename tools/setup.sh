# shellcheck shell=bash
# setup.sh - sourced by ./check and ./demo from the project's root: the packages that the build needs, and the build.

packages=(gcc libc6-dev meson ninja-build pkg-config libcmocka-dev libpcre2-dev libutf8proc-dev libssl-dev
  liburing-dev libsimde-dev libmicrohttpd-dev libjansson-dev libseccomp-dev python3 man-db)
build_folder=build

# dpkg-query answers in milliseconds; apt is called only when something is missing.
missing_packages() {
  local package
  for package in "${packages[@]}"; do
    case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
      installed) ;;
      *) printf '%s\n' "$package" ;;
    esac
  done
}

install_packages() {
  command -v dpkg-query >/dev/null || return 0 # not a Debian: meson will say what is missing
  local missing apt
  # No <(...): bare systems may have no /proc, which /dev/fd needs.
  missing=$(missing_packages)
  missing=${missing//$'\n'/ }
  [ -z "$missing" ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    printf 'These packages are missing. As root:\n  apt-get install --no-install-recommends %s\n' "$missing" >&2
    return 1
  fi
  printf 'installing %s\n' "$missing" >&2
  apt='apt-get -qq -o Dpkg::Use-Pty=0'
  # Package lists may be absent (containers) or stale: fetch them first, install what is named, nothing else.
  # shellcheck disable=SC2086
  if ! { $apt update && DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends $missing; } >&2; then
    printf 'apt-get failed. The packages are: %s\n' "$missing" >&2
    return 1
  fi
}

build_leat() {
  if [ ! -f "$build_folder/build.ninja" ]; then
    meson setup "$build_folder" >&2 || return 1
  fi
  ninja -C "$build_folder" "$@" >&2
}
