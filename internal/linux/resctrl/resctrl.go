// Package resctrl puts processes into groups of the resctrl filesystem, by which
// the kernel shares out caches and memory bandwidth (Intel RDT and its like). It
// owns the filesystem's layout and what the runtime specification's intelRdt says
// about groups: which are made, compared, written to and removed.
//
// It never mounts the filesystem: that is a decision for the whole machine.
package resctrl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mountinfo"
)

// usual is where the filesystem is mounted nearly everywhere.
const usual = "/sys/fs/resctrl"

// magic is RDTGROUP_SUPER_MAGIC of linux/magic.h.
const magic = 0x7655821

// Find gives the directory where the filesystem is mounted, errs.Unsupported if it
// is not.
func Find() (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(usual, &st); err == nil && st.Type == magic {
		return usual, nil
	}
	table, err := fd.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		if m, err := mountinfo.Parse(line); err == nil && m.Kind == "resctrl" {
			return m.Place, nil
		}
	}
	return "", errs.New(errs.Unsupported, "intelRdt: no resctrl filesystem is mounted on this machine")
}

// Group is where a container's processes are. It is kept with the container.
type Group struct {
	Dir     string `json:"dir"`
	Own     bool   `json:"own,omitempty"`     // made for the container, and removed with it
	Monitor string `json:"monitor,omitempty"` // a directory below Dir that is the container's
}

// reserved are the names in the filesystem's root that are no groups.
var reserved = map[string]bool{"info": true, "mon_groups": true, "mon_data": true, ".": true, "..": true}

// Plan says where the container with an id goes, below the filesystem's root.
// Nothing is changed. A bad description is errs.InvalidArgument.
func Plan(root, id string, rdt *specs.LinuxIntelRdt) (Group, error) {
	if err := check(rdt); err != nil {
		return Group{}, err
	}
	name := rdt.ClosID
	switch {
	case name == "/":
		name = ""
	case name == "":
		name = id
	}
	if strings.ContainsAny(name, "/\n") || reserved[name] {
		return Group{}, errs.New(errs.InvalidArgument, "intelRdt: closID %q is not the name of a group", name)
	}
	g := Group{Dir: filepath.Join(root, name), Own: rdt.ClosID == ""}
	if rdt.EnableMonitoring {
		g.Monitor = filepath.Join(g.Dir, "mon_groups", id)
	}
	return g, nil
}

func check(rdt *specs.LinuxIntelRdt) error {
	if !strings.HasPrefix(rdt.MemBwSchema, "MB:") && rdt.MemBwSchema != "" || strings.Contains(rdt.MemBwSchema, "\n") {
		return errs.New(errs.InvalidArgument, "intelRdt: memBwSchema %q is not one line that starts with MB:", rdt.MemBwSchema)
	}
	for _, line := range rdt.Schemata {
		if strings.Contains(line, "\n") {
			return errs.New(errs.InvalidArgument, "intelRdt: %q is more than one line of schemata", line)
		}
	}
	return nil
}

// SetUp makes what there has to be for the container and writes its schemata. undo
// removes what it has made; after an error nothing is left.
func (g Group) SetUp(rdt *specs.LinuxIntelRdt) (undo func() error, err error) {
	var made []string
	undo = func() error {
		var all error
		for _, dir := range slices.Backward(made) {
			all = errors.Join(all, os.RemoveAll(dir))
		}
		return all
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("intelRdt: %w", err), undo())
		}
	}()
	isNew, err := g.open(rdt)
	if isNew {
		made = append(made, g.Dir)
	}
	if err == nil {
		err = g.writeSchemata(rdt)
	}
	if err != nil || g.Monitor == "" {
		return undo, err
	}
	if err := os.Mkdir(g.Monitor, 0o755); err != nil {
		return undo, fmt.Errorf("create monitoring group: %w%s", err, g.reason())
	}
	made = append(made, g.Monitor)
	return undo, nil
}

// open makes the group, or checks the one that is there. Without a schema to write,
// a group that is the container's by name only must be there.
func (g Group) open(rdt *specs.LinuxIntelRdt) (isNew bool, err error) {
	if !g.Own && len(schemata(rdt)) == 0 {
		_, err := os.Stat(g.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			return false, errs.New(errs.NotFound, "closID %s does not exist, and there is no schema to make it with", rdt.ClosID)
		}
		return false, err
	}
	err = os.Mkdir(g.Dir, 0o755)
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrExist):
		return false, fmt.Errorf("create group: %w%s", err, g.reason())
	case g.Own:
		return false, errs.New(errs.Conflict, "group %s exists already", g.Dir)
	}
	return false, g.compare(rdt.L3CacheSchema, rdt.MemBwSchema)
}

// Update writes other schemata; the kernel keeps what they do not mention.
func (g Group) Update(rdt *specs.LinuxIntelRdt) error {
	if err := check(rdt); err != nil {
		return err
	}
	if err := g.writeSchemata(rdt); err != nil {
		return fmt.Errorf("intelRdt: %w", err)
	}
	return nil
}

func (g Group) writeSchemata(rdt *specs.LinuxIntelRdt) error {
	lines := schemata(rdt)
	if len(lines) == 0 {
		return nil
	}
	return g.write(g.Dir, "schemata", strings.Join(lines, "\n")+"\n")
}

// schemata are the lines to write, in the order that the specification demands.
func schemata(rdt *specs.LinuxIntelRdt) (lines []string) {
	for _, s := range append([]string{rdt.L3CacheSchema, rdt.MemBwSchema}, rdt.Schemata...) {
		if s != "" {
			lines = append(lines, strings.TrimSuffix(s, "\n"))
		}
	}
	return lines
}

// compare refuses a group that others made with other schemata than those asked for.
func (g Group) compare(want ...string) error {
	if strings.Join(want, "") == "" {
		return nil
	}
	have, err := fd.ReadFile(filepath.Join(g.Dir, "schemata"))
	if err != nil {
		return fmt.Errorf("read schemata: %w", err)
	}
	now := values(string(have))
	for _, schema := range want {
		for key, value := range values(schema) {
			if now[key] != value {
				return errs.New(errs.Conflict, "group %s has %s=%s in its schemata, not %s", g.Dir, key, now[key], value)
			}
		}
	}
	return nil
}

// values reads lines such as "L3:0=ff;1=0f" into a map from "L3:0" to "ff".
// Numbers are compared without the zeros before them.
func values(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		resource, list, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		for _, part := range strings.Split(list, ";") {
			domain, value, _ := strings.Cut(part, "=")
			value = strings.TrimLeft(strings.ToLower(strings.TrimSpace(value)), "0")
			out[strings.TrimSpace(resource)+":"+strings.TrimSpace(domain)] = value
		}
	}
	return out
}

// Add puts a process, with all that it starts from now on, into the group.
func (g Group) Add(pid int) error {
	for _, dir := range []string{g.Dir, g.Monitor} {
		if dir == "" {
			continue
		}
		if err := g.write(dir, "tasks", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("intelRdt: %w", err)
		}
	}
	return nil
}

// Remove removes what is the container's alone. What is gone is no error.
func (g Group) Remove() error {
	var err error
	if g.Monitor != "" {
		err = os.RemoveAll(g.Monitor)
	}
	if g.Own {
		err = errors.Join(err, os.RemoveAll(g.Dir))
	}
	if err != nil {
		return fmt.Errorf("intelRdt: remove group: %w", err)
	}
	return nil
}

func (g Group) write(dir, file, value string) error {
	name := filepath.Join(dir, file)
	if err := os.WriteFile(name, []byte(value), 0o644); err != nil {
		return fmt.Errorf("write %q: %w%s", strings.TrimSpace(value), err, g.reason())
	}
	return nil
}

// reason is what the kernel says about its last refusal, with a separator.
func (g Group) reason() string {
	for _, dir := range []string{g.Dir, filepath.Dir(g.Dir)} {
		text, err := fd.ReadFile(filepath.Join(dir, "info/last_cmd_status"))
		if why := strings.TrimSpace(string(text)); err == nil && why != "ok" {
			return " (" + why + ")"
		}
	}
	return ""
}
