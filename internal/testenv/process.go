package testenv

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Processes are all processes that /proc shows: inside a PID sandbox those of
// the tests.
var Processes = Gate{"processes", func() ([]string, error) { return processes(func(procStat) bool { return true }) }}

// Children are the direct children of the process, zombies included.
var Children = Gate{"child processes", func() ([]string, error) {
	self := os.Getpid()
	return processes(func(p procStat) bool { return p.ppid == self })
}}

type procStat struct {
	pid, ppid int
	name      string
}

func processes(match func(procStat) bool) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := readStat(pid)
		if err != nil {
			continue // ended meanwhile
		}
		if match(p) {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // ended: the name will do
			args := strings.TrimSpace(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
			all = append(all, fmt.Sprintf("%d (parent %d) %s: %s", p.pid, p.ppid, p.name, args))
		}
	}
	return all, nil
}

// readStat parses /proc/PID/stat; the name may itself hold spaces and brackets.
func readStat(pid int) (procStat, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && line == "" {
		return procStat{}, err
	}
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("parse /proc/%d/stat", pid)
	}
	rest := strings.Fields(line[end+1:])
	if len(rest) < 2 {
		return procStat{}, fmt.Errorf("parse /proc/%d/stat", pid)
	}
	ppid, err := strconv.Atoi(rest[1])
	return procStat{pid: pid, ppid: ppid, name: line[open+1 : end]}, err
}
