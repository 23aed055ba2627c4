package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// TB is what this package needs of a *testing.T, *testing.B or *testing.F.
type TB interface {
	Helper()
	Name() string
	Skipf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// Feature is something that a machine has or lacks. A probe runs once per
// process and names what is missing.
type Feature struct {
	name  string
	probe func() error
}

// Need skips the test unless the machine has all features. The reason has the
// form "needs X: cause"; the test report accepts only those that it knows.
func Need(t TB, features ...Feature) {
	t.Helper()
	for _, f := range features {
		if err := f.probe(); err != nil {
			t.Skipf("needs %s: %v", f.name, err)
		}
	}
}

// Has tells whether the machine has the feature.
func Has(f Feature) bool { return f.probe() == nil }

// Root is the effective user 0.
var Root = Feature{"root", func() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("the user is %d", uid)
	}
	return nil
}}

// Disk is a directory whose files are not kept in memory.
func Disk(dir string) Feature {
	return Feature{"a disk", func() error {
		const tmpfs, ramfs = 0x01021994, 0x858458f6 // linux/magic.h
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			return err
		}
		if int64(st.Type) == tmpfs || int64(st.Type) == ramfs {
			return fmt.Errorf("%s is in memory", dir)
		}
		return nil
	}}
}

// Overlay is the overlay file system.
var Overlay = Feature{"overlayfs", sync.OnceValue(func() error {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(data)), "overlay") {
		return errors.New("the kernel does not list it")
	}
	return nil
})}

// CgroupV1 is a mounted hierarchy of version 1.
var CgroupV1 = Feature{"cgroup v1", sync.OnceValue(func() error {
	if cgroupPure() {
		return errors.New("only cgroup v2 is mounted")
	}
	return nil
})}

// CgroupV2 is a pure version 2 hierarchy at /sys/fs/cgroup.
var CgroupV2 = Feature{"cgroup v2", sync.OnceValue(func() error {
	if !cgroupPure() {
		return errors.New("/sys/fs/cgroup is not a cgroup2 mount")
	}
	return nil
})}

func cgroupPure() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// UserNS, NetNS and PIDNS are namespaces that the test may create.
var (
	UserNS = namespace("user namespaces", syscall.CLONE_NEWUSER)
	NetNS  = namespace("network namespaces", syscall.CLONE_NEWNET)
	PIDNS  = namespace("pid namespaces", syscall.CLONE_NEWPID)
)

func namespace(name string, flag uintptr) Feature {
	return Feature{name, sync.OnceValue(func() error {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
		return cmd.Run()
	})}
}

// Capability is an effective capability of this process, by its number in
// linux/capability.h.
func Capability(name string, number uint) Feature {
	return Feature{name, sync.OnceValue(func() error {
		data, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			hex, ok := strings.CutPrefix(line, "CapEff:")
			if !ok {
				continue
			}
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return err
			}
			if set&(1<<number) == 0 {
				return errors.New("not in the effective set")
			}
			return nil
		}
		return errors.New("no CapEff in /proc/self/status")
	})}
}

// SysResource is CAP_SYS_RESOURCE: raising hard limits, lowering oom_score_adj.
var SysResource = Capability("CAP_SYS_RESOURCE", 24)

// CRIU is a criu that can work here: its release must know the kernel's.
var CRIU = Feature{"criu", sync.OnceValue(func() error {
	if out, err := exec.Command("criu", "check").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; "))
	}
	return nil
})}

// AppArmor is a kernel where AppArmor is on, whose profiles can be changed.
var AppArmor = Feature{"AppArmor", func() error {
	if on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || string(on) != "Y\n" {
		return errors.New("it is not on in the kernel")
	}
	_, err := os.Stat("/sys/kernel/security/apparmor/.replace")
	return err
}}

// SELinux is a kernel where SELinux is on, with the types of test/vm/selinux.cil
// in its policy.
var SELinux = Feature{"SELinux", func() error {
	if err := os.WriteFile("/sys/fs/selinux/context", []byte("system_u:system_r:container_t:s0:c1,c2"), 0); err != nil {
		return errors.New("it is not on in the kernel, or its policy has no container_t")
	}
	return nil
}}

// Linux is a kernel of that version or a later one, which is what a feature needs.
func Linux(major, minor int, feature string) Feature {
	return Feature{fmt.Sprintf("Linux %d.%d", major, minor), func() error {
		release, err := os.ReadFile("/proc/sys/kernel/osrelease")
		if err != nil {
			return err
		}
		var a, b int
		if _, err := fmt.Sscanf(string(release), "%d.%d", &a, &b); err != nil {
			return err
		}
		if a < major || a == major && b < minor {
			return errors.New(feature)
		}
		return nil
	}}
}

// Tool is a program on PATH or at an absolute path.
func Tool(name string) Feature {
	return Feature{"program " + name, func() error {
		_, err := exec.LookPath(name)
		return err
	}}
}

// File is an existing file, device or directory.
func File(path string) Feature {
	return Feature{"file " + path, func() error {
		_, err := os.Stat(path)
		return err
	}}
}
