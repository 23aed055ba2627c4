package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// runtimes measures the OCI runtime alone, from a bundle, beside runc and beside
// the floor: a C program that makes the same system calls, and nothing else.
func runtimes(o options, dir string) (_ []row, err error) {
	bundle, err := makeBundle(filepath.Join(dir, "bundle"))
	if err != nil {
		return nil, err
	}
	volatile := filepath.Join(dir, "run")
	if err := mountVolatile(volatile); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, syscall.Unmount(volatile, 0)) }()
	type runtime struct{ user, program, root string }
	users := []runtime{{gantry, filepath.Join(o.bin, "gantry-runtime"), filepath.Join(volatile, "gantry")}}
	if runc, err := exec.LookPath("runc"); err == nil && o.peers {
		users = append(users, runtime{runcPeer, runc, filepath.Join(volatile, "runc")})
	}
	run := row{name: "runtime alone: run true from a bundle", unit: ms}
	execute := row{name: "runtime alone: exec true", unit: ms}
	peak := row{name: "runtime alone: peak memory of create", unit: mb}
	if !o.wants(run.name) && !o.wants(execute.name) && !o.wants(peak.name) {
		return nil, nil
	}
	for range users {
		run.cells, execute.cells, peak.cells = append(run.cells, cell{}), append(execute.cells, cell{}), append(peak.cells, cell{})
	}
	base, err := newFloor(dir, filepath.Join(bundle, "true"), volatile)
	if err != nil {
		return nil, err
	}
	lowest := cell{user: floorPeer}
	for i, u := range users {
		run.cells[i].user, execute.cells[i].user, peak.cells[i].user = u.user, u.user, u.user
		create := exec.Command(u.program, "--root", u.root, "create", "--bundle", filepath.Join(bundle, "sleep"), "resident")
		kb, err := peakMemory(create)
		if err != nil {
			return nil, err
		}
		peak.cells[i].samples = []float64{float64(kb) / 1024}
		if _, err := timed(exec.Command(u.program, "--root", u.root, "start", "resident")); err != nil {
			return nil, err
		}
	}
	for n := range o.runs + 2 {
		for i, u := range users {
			ran, err := timed(exec.Command(u.program, "--root", u.root, "run", "--bundle", filepath.Join(bundle, "true"), fmt.Sprint("r", n)))
			if err != nil {
				return nil, err
			}
			executed, err := timed(exec.Command(u.program, "--root", u.root, "exec", "resident", "true"))
			if err != nil {
				return nil, err
			}
			if n >= 2 {
				run.cells[i].samples = append(run.cells[i].samples, millis(ran))
				execute.cells[i].samples = append(execute.cells[i].samples, millis(executed))
			}
		}
		if base == nil {
			continue
		}
		took, err := timed(base.run())
		if err != nil {
			return nil, err
		}
		if n >= 2 {
			lowest.samples = append(lowest.samples, millis(took))
		}
	}
	if base != nil {
		run.cells = append(run.cells, lowest)
	}
	var errs error
	for _, u := range users {
		_, err := timed(exec.Command(u.program, "--root", u.root, "delete", "--force", "resident"))
		errs = errors.Join(errs, err)
	}
	return []row{run, execute, peak}, errs
}

// makeBundle writes two bundles with busybox, "true" and "sleep", from the
// configuration that `spec` writes: the same for all runtimes.
func makeBundle(dir string) (string, error) {
	for _, name := range []string{"true", "sleep"} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Join(at, "rootfs", "bin"), 0o755); err != nil {
			return "", err
		}
		for _, d := range []string{"proc", "dev", "sys"} {
			if err := os.MkdirAll(filepath.Join(at, "rootfs", d), 0o755); err != nil {
				return "", err
			}
		}
		busybox, err := os.ReadFile("/bin/busybox")
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(at, "rootfs", "bin", "busybox"), busybox, 0o755); err != nil {
			return "", err
		}
		if err := os.Symlink("busybox", filepath.Join(at, "rootfs", "bin", name)); err != nil {
			return "", err
		}
		if name == "sleep" {
			if err := os.Symlink("busybox", filepath.Join(at, "rootfs", "bin", "true")); err != nil {
				return "", err
			}
		}
		if err := writeSpec(at, map[string][]string{"true": {"true"}, "sleep": {"sleep", "86400"}}[name]); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func writeSpec(bundle string, args []string) error {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return fmt.Errorf("the bundle's configuration comes from runc: %w", err)
	}
	cmd := exec.Command(runc, "spec")
	cmd.Dir = bundle
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("runc spec: %w: %s", err, out)
	}
	file := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	process, _ := spec["process"].(map[string]any)
	process["args"], process["terminal"] = args, false
	linux, _ := spec["linux"].(map[string]any)
	linux["cgroupsPath"] = "/" + filepath.Base(filepath.Dir(filepath.Dir(bundle))) + "-" + filepath.Base(bundle)
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
