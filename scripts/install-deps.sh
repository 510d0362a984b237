#!/bin/bash
# Installs the Debian packages that PVC needs on this machine, those that are missing and no others.
#
#   scripts/install-deps.sh [build] [run] [test] [bench]      which sets; without any: the first three
#
#   build   to compile PVC           run   to run hosts and guests           test   for the tests besides
#   bench   what PVC is measured against; only where it is named
#
# Says what it will install before it does. Runs as root, or by sudo. Nothing is fetched when nothing is missing. FRRouting's and
# PowerDNS's own services are not started and not enabled where this installs them; where they were before, they are left alone.
set -euo pipefail

build=(gcc libc6-dev pkg-config libvirt-dev make)
run=(libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils
  iproute2 nftables iputils-ping util-linux socat ca-certificates ipmitool openipmi procps
  frr dnsmasq-base pdns-server pdns-backend-remote)
test=(curl python3 python3-grpcio python3-protobuf protobuf-compiler protobuf-compiler-grpc libprotobuf-dev openssl
  bind9-dnsutils udhcpc isc-dhcp-client)
bench=(zookeeper etcd-server)
# Packages whose services would take the machine's own routes and its port of names: hosts of local clusters run their
# programs themselves.
silent=(frr pdns-server)

packages=()
for set in "${@:-build run test}"; do
  for name in $set; do
    case $name in
      build) packages+=("${build[@]}") ;;
      run) packages+=("${run[@]}") ;;
      test) packages+=("${test[@]}") ;;
      bench) packages+=("${bench[@]}") ;;
      *)
        echo "install-deps: there is no set \"$name\"; the sets are build, run, test and bench" >&2
        exit 2
        ;;
    esac
  done
done

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "install-deps: all ${#packages[@]} packages are there"
  exit 0
fi
echo "install-deps: will install with apt-get: ${missing[*]}"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "install-deps: needs root: run it as root, or install sudo" >&2
    exit 1
  }
  as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=500 "$@"; }
candidate() { apt-cache policy "$1" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" {print $2}'; }

known=yes
for package in "${missing[@]}"; do [ -n "$(candidate "$package")" ] || known=no; done
# lists that are a day old may name files that the mirror has replaced
[ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 -print -quit 2>/dev/null)" ] || known=no
[ "$known" = yes ] || apt update

# A qemu-utils from a newer release breaks this release's qemu-system; both must be of one version, even if that is a step back.
names=("${missing[@]}") options=()
case " ${missing[*]} " in
  *" qemu-system-x86 "*)
    version=$(apt-cache madison qemu-system-x86 | awk '{print $3; exit}')
    have=$(dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null || true)
    if [ -n "$version" ] && [ "$have" != "$version" ]; then
      [ -z "$have" ] || echo "install-deps: qemu-utils $have goes to $version, to fit qemu-system-x86"
      names=()
      for package in "${missing[@]}"; do
        case $package in qemu-utils | qemu-system-x86) ;; *) names+=("$package") ;; esac
      done
      names+=("qemu-system-x86=$version" "qemu-utils=$version")
      options=(--allow-downgrades)
    fi
    ;;
esac

quiet=()
for package in "${silent[@]}"; do
  case " ${missing[*]} " in *" $package "*) quiet+=("${package%-server}.service") ;; esac
done
# Debian's packages ask this program whether a service may be started; 101 is no, 0 is yes.
policy=/usr/sbin/policy-rc.d
if [ ${#quiet[@]} -gt 0 ] && [ ! -e $policy ]; then
  trap '"${as_root[@]}" rm -f $policy' EXIT
  names_of=$(printf '%s|%s|' "${quiet[@]%.service}" "${quiet[@]}")
  printf '#!/bin/sh\nfor word; do case $word in %s) exit 101 ;; esac; done\n' "${names_of%|}" |
    "${as_root[@]}" install -m 755 /dev/stdin $policy
fi
apt install -y --no-install-recommends "${options[@]}" "${names[@]}"
if [ ${#quiet[@]} -gt 0 ] && command -v systemctl >/dev/null; then
  echo "install-deps: not started and not enabled: ${quiet[*]}"
  "${as_root[@]}" systemctl --quiet disable "${quiet[@]}"
fi
