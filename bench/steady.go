package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// steadyTime is how long the engine's use of the CPU is watched.
const steadyTime = 20 * time.Second

// percent is the unit of CPU time by time: 100 is one core.
const percent = "% of a core"

// steady measures what engines use while containers just run: for health checks,
// and for clients that watch statistics.
func steady(o options, users []*daemon) ([]row, error) {
	var rows []row
	for _, m := range []struct {
		name    string
		measure func(options, *daemon) (float64, error)
	}{
		{fmt.Sprintf("CPU of checking %d containers every 2 s", o.many), useOfChecks},
		{fmt.Sprintf("CPU of streaming statistics of %d containers", o.many), useOfStats},
	} {
		if !o.wants(m.name) {
			continue
		}
		r := row{name: m.name, unit: percent}
		for _, u := range users {
			if u.name == dropIn {
				continue
			}
			used, err := m.measure(o, u)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", u.name, err)
			}
			r.cells = append(r.cells, cell{u.name, []float64{used}})
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func useOfChecks(o options, u *daemon) (used float64, err error) {
	err = u.among(o.many, []string{"--health-cmd", "true", "--health-interval", "2s"}, func([]string) error {
		used, err = u.use(steadyTime)
		return err
	})
	return used, err
}

func useOfStats(o options, u *daemon) (used float64, err error) {
	err = u.among(o.many, nil, func(names []string) error {
		ctx, cancel := context.WithCancel(context.Background())
		var readers sync.WaitGroup
		defer readers.Wait()
		defer cancel()
		for _, name := range names {
			resp, err := u.get(ctx, "/containers/"+name+"/stats")
			if err != nil {
				return err
			}
			readers.Go(func() {
				_, _ = io.Copy(io.Discard, resp.Body) // until it is cancelled
				_ = resp.Body.Close()
			})
		}
		time.Sleep(3 * time.Second)
		used, err = u.use(steadyTime)
		return err
	})
	return used, err
}

// among calls fn while n containers run that were made with args.
func (d *daemon) among(n int, args []string, fn func(names []string) error) error {
	names := make([]string, n)
	for i := range names {
		names[i] = "s" + strconv.Itoa(i)
	}
	err := eight(names, func(name string) error {
		_, err := d.do(append(append([]string{"run", "-d", "--name", name}, args...), "busybox", "sleep", "86400")...)
		return err
	})
	if err == nil {
		time.Sleep(3 * time.Second) // what comes of the start is over
		err = fn(names)
	}
	_, rmErr := d.do(append([]string{"rm", "-f"}, names...)...)
	return errors.Join(err, rmErr)
}

// use is the CPU time (percent of a core) that the engine uses within a time: what
// is used in its cgroup, and so in none of its containers'.
func (d *daemon) use(during time.Duration) (float64, error) {
	began := time.Now()
	before, err := d.spent()
	if err != nil {
		return 0, err
	}
	time.Sleep(during)
	after, err := d.spent()
	return float64(after-before) / float64(time.Since(began)) * 100, err
}

func (d *daemon) spent() (time.Duration, error) {
	top, _ := usageTop()
	dir := filepath.Join(top, d.engineGroup())
	if data, err := os.ReadFile(filepath.Join(dir, "cpuacct.usage")); err == nil {
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		return time.Duration(n), err
	}
	data, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	return time.Duration(field(append([]byte("\n"), data...), "usage_usec")) * time.Microsecond, err
}
