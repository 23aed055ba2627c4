package ns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
)

// MapIDs writes the id maps of the new user namespace that the process is in,
// see user_namespaces(7). An ordinary user may map the own ids only; for others,
// newuidmap(1) and newgidmap(1) do it as far as subuid(5) and subgid(5) allow.
func MapIDs(pid int, uids, gids []syscall.SysProcIDMap) error {
	self := os.Geteuid()
	if self == 0 || ownOnly(uids, self) {
		if err := fd.WriteFile(fmt.Sprintf("/proc/%d/uid_map", pid), mapText(uids, "\n")); err != nil {
			return fmt.Errorf("map user ids: %w", err)
		}
	} else if err := mapByTool("newuidmap", "/etc/subuid", pid, uids); err != nil {
		return fmt.Errorf("map user ids: %w", err)
	}
	if self != 0 && !ownOnly(gids, os.Getegid()) {
		if err := mapByTool("newgidmap", "/etc/subgid", pid, gids); err != nil {
			return fmt.Errorf("map group ids: %w", err)
		}
		return nil
	}
	if self != 0 {
		// Giving up groups could give access to what is denied to one of them.
		if err := fd.WriteFile(fmt.Sprintf("/proc/%d/setgroups", pid), "deny"); err != nil {
			return fmt.Errorf("map group ids: %w", err)
		}
	}
	if err := fd.WriteFile(fmt.Sprintf("/proc/%d/gid_map", pid), mapText(gids, "\n")); err != nil {
		return fmt.Errorf("map group ids: %w", err)
	}
	return nil
}

// ownOnly tells whether the map is of the one id.
func ownOnly(list []syscall.SysProcIDMap, id int) bool {
	return len(list) == 1 && list[0].HostID == id && list[0].Size == 1
}

func mapText(list []syscall.SysProcIDMap, end string) string {
	var text []byte
	for _, m := range list {
		text = fmt.Appendf(text, "%d %d %d%s", m.ContainerID, m.HostID, m.Size, end)
	}
	return string(text)
}

func mapByTool(tool, allowed string, pid int, list []syscall.SysProcIDMap) error {
	args := []string{strconv.Itoa(pid)}
	for _, m := range list {
		args = append(args, strconv.Itoa(m.ContainerID), strconv.Itoa(m.HostID), strconv.Itoa(m.Size))
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errs.New(errs.Unsupported, "%s is not installed: without it, an ordinary user can map nothing but the own id (Debian: package uidmap)", tool)
	}
	if err != nil {
		return errs.New(errs.Permission, "%s %s: %w: %s (see %s)", tool, bytes.TrimSpace([]byte(mapText(list, " "))), err, bytes.TrimSpace(out), allowed)
	}
	return nil
}

// Rootless tells whether this process is not the machine's root: an ordinary
// user, or root of a user namespace.
var Rootless = sync.OnceValue(func() bool {
	if os.Geteuid() != 0 {
		return true
	}
	text, err := fd.ReadFile("/proc/self/uid_map")
	const all = "0 0 4294967295" // the machine's own namespace maps every id to itself
	return err == nil && strings.Join(strings.Fields(string(text)), " ") != all
})
