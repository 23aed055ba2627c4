package main

import (
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// What the supervisor may take for a thousand containers, in kB.
const (
	thousand         = 1000
	supervisorIdle   = 10 << 10
	supervisorForOne = 300
)

// runThousand starts a thousand containers; while all of them run, each has
// logged, answers an exec, and is stopped.
func runThousand(d *daemon) error {
	names := make([]string, thousand)
	for i := range names {
		names[i] = fmt.Sprintf("k%d", i)
	}
	begin := time.Now()
	all := func(what string, fn func(name string) error) error {
		if err := eight(names, fn); err != nil {
			return fmt.Errorf("%s %d containers: %w", what, thousand, err)
		}
		fmt.Printf("%6d containers: %s after %.1f s\n", thousand, what, time.Since(begin).Seconds())
		return nil
	}
	err := all("start", func(name string) error {
		_, err := d.do("run", "-d", "--name", name, "busybox", "sh", "-c", "echo I am "+name+"; trap 'exit 3' TERM; sleep 86400 & wait")
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range processes() {
		if strings.HasPrefix(p.name, "gantry") {
			fmt.Printf("%6d containers: %s has %.1f MB and %d descriptors\n", thousand, p.name, float64(p.rss)/1024, p.fds)
		}
		if limit := supervisorIdle + thousand*supervisorForOne; p.name == "gantry-runtime" && p.rss > limit {
			return fmt.Errorf("%s: %d kB resident, at most %d are allowed", p.name, p.rss, limit)
		}
	}
	err = all("log and exec", func(name string) error {
		if out, err := d.text("logs", name); err != nil || out != "I am "+name+"\n" {
			return fmt.Errorf("logs of %s: %q, %w", name, out, err)
		}
		_, err := d.do("exec", name, "true")
		return err
	})
	if err != nil {
		return err
	}
	return all("stop and remove", func(name string) error {
		if _, err := d.do("stop", name); err != nil {
			return err
		}
		if code, err := d.text("inspect", "-f", "{{.State.ExitCode}}", name); err != nil || code != "3\n" {
			return fmt.Errorf("%s ended with %q, %w", name, code, err)
		}
		_, err := d.do("rm", name)
		return err
	})
}

// text runs the client and gives its standard output.
func (d *daemon) text(args ...string) (string, error) {
	cmd := exec.Command(d.client, args...)
	cmd.Env = d.env
	out, err := cmd.Output()
	return string(out), err
}
