package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// engines measures whole commands: Gantry's client on gantryd, Docker's client on
// gantryd, and Docker's client on dockerd.
func engines(o options, dir string) ([]row, error) {
	var rows []row
	g, err := startDaemon(dir, gantry, filepath.Join(o.bin, "gantryd"), filepath.Join(o.bin, "gantry"), 1)
	if err != nil {
		return nil, err
	}
	idle := engineMemory(nil)
	users := []*daemon{g}
	rows = append(rows, row{name: "daemon start until it answers", unit: ms, cells: []cell{{gantry, []float64{millis(g.ready)}}}},
		row{name: "memory of the idle engine", unit: mb, cells: []cell{{gantry, []float64{idle / 1024}}}})
	docker, _ := exec.LookPath("docker")
	dockerd, _ := exec.LookPath("dockerd")
	if docker != "" {
		drop := *g
		drop.name, drop.client = dropIn, docker
		users = append(users, &drop)
	}
	if o.peers && dockerd != "" && docker != "" {
		before := pids()
		d, err := startDaemon(dir, dockerPeer, dockerd, docker, 2)
		if err != nil {
			return nil, errors.Join(err, g.stop())
		}
		rows[0].cells = append(rows[0].cells, cell{dockerPeer, []float64{millis(d.ready)}})
		rows[1].cells = append(rows[1].cells, cell{dockerPeer, []float64{engineMemory(before) / 1024}})
		users = append(users, d)
	}
	more, err := commands(o, users)
	rows = append(rows, more...)
	if err == nil {
		more, err = crowd(o, users)
		rows = append(rows, more...)
	}
	for _, part := range []func(options, []*daemon) ([]row, error){steady, logs} {
		if err == nil {
			more, err = part(o, users)
			rows = append(rows, more...)
		}
	}
	for _, u := range slices.Backward(users) { // stop kills the others, and a killed dockerd leaves mounts
		if u.name != dropIn { // the same daemon as Gantry's
			err = errors.Join(err, u.stop())
		}
	}
	return rows, err
}

// commands measures single commands, the users taking turns.
func commands(o options, users []*daemon) ([]row, error) {
	for _, u := range users {
		if u.name == dropIn {
			continue
		}
		if _, err := u.do("run", "-d", "--name", "resident", "busybox", "sleep", "86400"); err != nil {
			return nil, err
		}
	}
	var rows []row
	for _, c := range []struct {
		name string
		args []string
	}{
		{"run --rm busybox true, bridge", []string{"run", "--rm", "busybox", "true"}},
		{"run --rm --network none busybox true", []string{"run", "--rm", "--network", "none", "busybox", "true"}},
		{"exec C true", []string{"exec", "resident", "true"}},
		{"ps, one container", []string{"ps"}},
		{"inspect C", []string{"inspect", "resident"}},
		{"version", []string{"version"}},
	} {
		if !o.wants(c.name) {
			continue
		}
		r := row{name: c.name, unit: ms, cells: make([]cell, len(users))}
		for i := range o.runs + 2 {
			for n, u := range users {
				took, err := u.do(c.args...)
				if err != nil {
					return rows, fmt.Errorf("%s: %w", u.name, err)
				}
				r.cells[n].user = u.name
				if i >= 2 { // the first ones warm caches up
					r.cells[n].samples = append(r.cells[n].samples, millis(took))
				}
			}
		}
		rows = append(rows, r)
	}
	for _, u := range users {
		if u.name != dropIn {
			if _, err := u.do("rm", "-f", "resident"); err != nil {
				return rows, err
			}
		}
	}
	return rows, nil
}

// crowd measures many containers at once, and the memory that the engine needs
// for each.
func crowd(o options, users []*daemon) ([]row, error) {
	start := row{name: fmt.Sprintf("%d × run -d, 8 at a time", o.many), unit: ms}
	list := row{name: fmt.Sprintf("ps, %d containers", o.many), unit: ms}
	memory := row{name: "memory per idle container", unit: mb}
	remove := row{name: fmt.Sprintf("rm -f of %d", o.many), unit: ms}
	if !o.wants(start.name) && !o.wants(remove.name) && !o.wants(memory.name) {
		return nil, nil
	}
	for _, u := range users {
		cells := [4]cell{{user: u.name}, {user: u.name}, {user: u.name}, {user: u.name}}
		for range o.bulk {
			before := engineMemory(nil)
			names := make([]string, o.many)
			for i := range names {
				names[i] = "c" + strconv.Itoa(i)
			}
			began := time.Now()
			if err := eight(names, func(name string) error {
				_, err := u.do("run", "-d", "--name", name, "busybox", "sleep", "86400")
				return err
			}); err != nil {
				return nil, fmt.Errorf("%s: %w", u.name, err)
			}
			cells[0].samples = append(cells[0].samples, millis(time.Since(began)))
			time.Sleep(time.Second) // what is only needed to start has gone
			cells[2].samples = append(cells[2].samples, (engineMemory(nil)-before)/1024/float64(o.many))
			took, err := u.do("ps")
			if err != nil {
				return nil, err
			}
			cells[1].samples = append(cells[1].samples, millis(took))
			if took, err = u.do(append([]string{"rm", "-f"}, names...)...); err != nil {
				return nil, err
			}
			cells[3].samples = append(cells[3].samples, millis(took))
		}
		start.cells, list.cells = append(start.cells, cells[0]), append(list.cells, cells[1])
		memory.cells, remove.cells = append(memory.cells, cells[2]), append(remove.cells, cells[3])
	}
	return []row{start, list, remove, memory}, nil
}

// eight calls fn for all names, eight at a time.
func eight(names []string, fn func(string) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs error
	next := make(chan string)
	for range 8 {
		wg.Go(func() {
			for name := range next {
				if err := fn(name); err != nil {
					mu.Lock()
					errs = errors.Join(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	wg.Wait()
	return errs
}

// engineMemory is the proportional set size (kB, smaps_rollup) of all processes
// of the engines, those in before excepted.
func engineMemory(before map[int]bool) (kb float64) {
	for _, p := range processes() {
		if p.pid != os.Getpid() && !before[p.pid] {
			kb += float64(p.pss)
		}
	}
	return kb
}

func pids() map[int]bool {
	all := map[int]bool{}
	for _, p := range processes() {
		all[p.pid] = true
	}
	return all
}
