package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// grown is how much resident memory (kB) a process may have more at the end than
// after the first round: the Go heap and its pools breathe.
const grown = 8 << 10

// soak runs a thousand containers at once, then starts, uses and removes some
// until the time is over and compares what the engine holds with what it held
// after the first round.
func soak(o options, dir string) error {
	d, err := startDaemon(dir, "soak", filepath.Join(o.bin, "gantryd"), filepath.Join(o.bin, "gantry"), 1)
	if err != nil {
		return err
	}
	if err := runThousand(d); err != nil {
		return errors.Join(err, d.stop())
	}
	end := time.Now().Add(o.soak)
	var first holdings
	cycles := 0
	for round := 0; ; round++ {
		names := make([]string, 50)
		for i := range names {
			names[i] = fmt.Sprintf("s%d", i)
		}
		err := eight(names, func(name string) error {
			for _, args := range [][]string{
				{"run", "-d", "--name", name, "busybox", "sleep", "86400"},
				{"exec", name, "true"},
				{"kill", name},
				{"rm", "-f", name},
				{"run", "--rm", "busybox", "true"},
			} {
				if _, err := d.do(args...); err != nil {
					return err
				}
			}
			return nil
		})
		cycles += 2 * len(names)
		if err != nil {
			return errors.Join(err, d.stop())
		}
		now := hold(d)
		if round == 1 { // the first one fills pools
			first = now
		}
		if round%10 == 1 {
			fmt.Printf("%6d containers: %s\n", cycles, now)
		}
		if time.Now().After(end) && round > 1 {
			fmt.Printf("%6d containers: %s\n", cycles, now)
			return errors.Join(first.compare(now), d.stop())
		}
	}
}

// holdings is what an engine without containers holds.
type holdings struct {
	processes     map[string]process
	mounts, links int
	files         int // below the data root and the exec root
}

func hold(d *daemon) holdings {
	time.Sleep(200 * time.Millisecond) // what ends in the background
	h := holdings{processes: map[string]process{}}
	for _, p := range processes() {
		if p.pid != os.Getpid() {
			h.processes[fmt.Sprintf("%s/%d", p.name, p.pid)] = p
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	h.mounts = strings.Count(string(mounts), "\n")
	links, _ := os.ReadDir("/sys/class/net")
	h.links = len(links)
	_ = filepath.WalkDir(d.dir, func(string, os.DirEntry, error) error { h.files++; return nil })
	return h
}

func (h holdings) String() string {
	var b strings.Builder
	for name, p := range h.processes {
		fmt.Fprintf(&b, "%s %d fds %.1f MB; ", name, p.fds, float64(p.rss)/1024)
	}
	fmt.Fprintf(&b, "%d mounts, %d links, %d files", h.mounts, h.links, h.files)
	return b.String()
}

// compare tells what has grown.
func (h holdings) compare(now holdings) error {
	var errs error
	for name, p := range now.processes {
		was, ok := h.processes[name]
		switch {
		case !ok:
			errs = errors.Join(errs, fmt.Errorf("process %s is left over", name))
		case p.fds > was.fds+8:
			errs = errors.Join(errs, fmt.Errorf("%s: %d descriptors, at first %d", name, p.fds, was.fds))
		case p.rss > was.rss+grown:
			errs = errors.Join(errs, fmt.Errorf("%s: %d kB resident, at first %d", name, p.rss, was.rss))
		}
	}
	if now.mounts != h.mounts || now.links != h.links {
		errs = errors.Join(errs, fmt.Errorf("%d mounts and %d links, at first %d and %d", now.mounts, now.links, h.mounts, h.links))
	}
	if now.files > h.files+16 {
		errs = errors.Join(errs, fmt.Errorf("%d files, at first %d", now.files, h.files))
	}
	return errs
}
