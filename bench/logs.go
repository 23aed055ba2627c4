package main

import (
	"fmt"
	"time"
)

// logLines is what the container of logs writes, and logBytes how much that is.
const (
	logLines = 2_000_000
	logBytes = logLines * 80
)

// logs measures how fast one container can write lines: until all of them are in
// the log and the container has ended.
func logs(o options, users []*daemon) ([]row, error) {
	var rows []row
	for _, driver := range []string{"json-file", "local", "none"} {
		r := row{name: fmt.Sprintf("log of %d MB in lines, driver %s", logBytes/1_000_000, driver), unit: ms}
		if !o.wants(r.name) {
			continue
		}
		for _, u := range users {
			if u.name == dropIn {
				continue
			}
			c := cell{user: u.name}
			for range o.bulk {
				took, err := u.writeLog(driver)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", u.name, err)
				}
				c.samples = append(c.samples, millis(took))
			}
			r.cells = append(r.cells, c)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// writeLog runs a container that writes logLines lines of 80 bytes, within one file.
func (d *daemon) writeLog(driver string) (time.Duration, error) {
	args := []string{"run", "-d", "--name", "writer", "--log-driver", driver}
	if driver != "none" {
		args = append(args, "--log-opt", "max-size=1g")
	}
	began := time.Now()
	_, err := d.do(append(args, "busybox", "sh", "-c",
		fmt.Sprintf("yes a line of a log, as long as many are: eighty bytes with the newline at its end. | head -n %d", logLines))...)
	if err == nil {
		_, err = d.do("wait", "writer")
	}
	took := time.Since(began)
	if err == nil {
		_, err = d.do("rm", "-f", "writer")
	}
	return took, err
}
