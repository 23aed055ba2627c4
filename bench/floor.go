package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// floorSource is the C program that the runtime is compared with.
//
//go:embed floor/floor.c
var floorSource []byte

// floor is that program, built, and what it has to be told.
type floor struct {
	program, bundle, state, group string
	unified                       string
	v1                            []string
}

// newFloor builds the program with the machine's C compiler. Without one it is nil.
func newFloor(dir, bundle, volatile string) (*floor, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: no C compiler, so no floor")
		return nil, nil
	}
	f := &floor{program: filepath.Join(dir, "floor"), bundle: bundle, state: filepath.Join(volatile, "floor"), group: filepath.Base(dir) + "-floor"}
	source := f.program + ".c"
	if err := os.WriteFile(source, floorSource, 0o644); err != nil {
		return nil, err
	}
	if out, err := exec.Command(cc, "-O2", "-static", "-o", f.program, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the floor: %w: %s", err, out)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		switch field := strings.Fields(line); field[2] {
		case "cgroup":
			f.v1 = append(f.v1, field[1])
		case "cgroup2":
			f.unified = field[1]
		}
	}
	return f, nil
}

func (f *floor) run() *exec.Cmd {
	return exec.Command(f.program, append([]string{f.bundle, f.state, f.group, f.unified}, f.v1...)...)
}
