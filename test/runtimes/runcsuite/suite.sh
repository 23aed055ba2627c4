#!/bin/sh
# suite.sh prepare DIR SOURCE RUNTIME  copies runc's tests and makes their images
# suite.sh run DIR CGROUP FILE         runs a file of them in a cgroup namespace of its own
# suite.sh inside DIR                  the same, in that namespace
#
# Run by test/runtimes in its own mount, network and PID namespace.
set -eu

busybox_root() {
	mkdir -p bin dev etc home root tmp usr/bin var
	cp /bin/busybox bin/
	for a in $(busybox --list); do [ "$a" = busybox ] || ln bin/busybox "bin/$a"; done
	ln -s /bin/env usr/bin/env
	chmod 1777 tmp
	printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >etc/passwd
	printf 'root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nnobody:x:65534:\n' >etc/group
}

# What the tests want of Debian are some programs that busybox lacks, or has others of.
debian_root() {
	mkdir -p usr/bin usr/sbin usr/lib usr/lib64 dev etc home proc root sys tmp run var/cache/ldconfig
	ln -s usr/bin bin
	ln -s usr/sbin sbin
	ln -s usr/lib lib
	ln -s usr/lib64 lib64
	chmod 1777 tmp
	for p in bash sh stat findmnt ionice chrt touch sleep cat ls grep id true mount umount env; do
		file=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v "$p")
		case $file in /*) ;; *) file=/usr/bin/$p ;; esac
		cp -L "$file" usr/bin/
		for l in $(ldd "$(readlink -f "$file")" | grep -o '/[^ ]*'); do
			mkdir -p "usr$(dirname "${l#/usr}")"
			cp -L "$l" "usr${l#/usr}"
		done
	done
	cp /sbin/ldconfig usr/sbin/
	cp -r /etc/ld.so.conf /etc/ld.so.conf.d /etc/passwd /etc/group etc/
}

prepare() {
	dir=$1 source=$2 runtime=$(command -v "$3")
	chmod 755 "$dir"
	mkdir -p "$dir/bin" "$dir/busybox" "$dir/debian"
	cp "$runtime" "$dir/bin/runc"
	cp -r "$source/tests" "$source/go.mod" "$dir/"
	chmod -R u+w "$dir"
	find "$dir/tests" -name '*.sh' -exec chmod +x {} +
	mkdir -p "$dir/tests/cmd/_bin"
	# By these names they are not downloaded.
	arch=$(go env GOARCH)
	(cd "$dir/busybox" && busybox_root && tar -cf "$dir/tests/integration/testdata/busybox-$arch.tar.xz" .)
	(cd "$dir/debian" && debian_root && tar -cf "$dir/tests/integration/testdata/debian-$arch.tar.xz" .)
	rm -rf "$dir/busybox" "$dir/debian"
}

# enter_cgroup makes the cgroup in every hierarchy and enters it. A cpuset must have
# CPUs before it has processes.
enter_cgroup() {
	for h in /sys/fs/cgroup/*/; do
		[ -e "$h/cgroup.procs" ] || continue
		mkdir -p "$h$1"
		if [ -e "$h$1/cpuset.cpus" ]; then
			for f in cpuset.cpus cpuset.mems; do
				up=
				for part in $(echo "$1" | tr / ' '); do
					[ -n "$(cat "$h$up/$part/$f")" ] || cat "$h$up/$f" >"$h$up/$part/$f"
					up=$up/$part
				done
			done
		fi
		echo $$ >"$h$1/cgroup.procs"
	done
}

# In the namespaces: the hierarchies show the own cgroup as their root.
remount_cgroups() {
	hierarchies=$(ls /sys/fs/cgroup)
	umount -R /sys/fs/cgroup
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	for h in $hierarchies; do
		mkdir "/sys/fs/cgroup/$h"
		case $h in
		unified) mount -t cgroup2 cgroup2 "/sys/fs/cgroup/$h" ;;
		systemd) mount -t cgroup -o none,name=systemd cgroup "/sys/fs/cgroup/$h" ;;
		*) mount -t cgroup -o "$h" cgroup "/sys/fs/cgroup/$h" ;;
		esac
	done
}

case $1 in
prepare)
	shift
	prepare "$@"
	;;
run)
	dir=$2 cgroup=$3 file=$4
	enter_cgroup "$cgroup"
	tmp=$(mktemp -d "$dir/t.XXX")
	chmod 755 "$tmp"
	export TMPDIR="$tmp" RUNC="$dir/bin/runc" SHELL=/bin/sh FILE="$file"
	unshare -C -m --propagation private sh -eu "$0" inside "$dir" </dev/null && code=0 || code=$?
	cat "$tmp/out"
	rm -rf "$tmp"
	exit "$code"
	;;
inside)
	remount_cgroups
	cd "$2/tests/integration"
	# runc wants a controlling terminal, which script(1) gives.
	exec timeout --foreground -k 10 240 script -qefc 'exec bats -F tap "$FILE.bats" >"$TMPDIR/out" 2>&1 </dev/null' /dev/null >/dev/null
	;;
esac
