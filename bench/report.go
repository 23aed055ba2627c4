package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Who is measured.
const (
	gantry     = "Gantry"
	dropIn     = "Docker's client on gantryd"
	dockerPeer = "Docker"
	runcPeer   = "runc"
	floorPeer  = "floor (C)"
)

const (
	ms = "ms"
	mb = "MB"
)

// row is one scenario, cell the samples of one user of it, Gantry's first.
type row struct {
	name  string
	unit  string
	cells []cell
}

type cell struct {
	user    string
	samples []float64
}

func median(s []float64) float64 {
	if len(s) == 0 {
		return 0
	}
	s = slices.Sorted(slices.Values(s))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// render gives the rows as a Markdown table: median (minimum–maximum) for each
// user, and how often Gantry's median goes into the last peer's.
func render(rows []row) string {
	var b strings.Builder
	b.WriteString("| what | who | median | min | max | samples | times Gantry's |\n|---|---|---:|---:|---:|---:|---:|\n")
	for _, r := range rows {
		base := median(r.cells[0].samples)
		for _, c := range r.cells {
			ratio := "–" // nothing to divide by: less than can be measured
			if base > 0.01 {
				ratio = number(median(c.samples) / base)
			}
			fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %d | %s |\n", r.name, c.user, number(median(c.samples)), r.unit,
				number(slices.Min(c.samples)), number(slices.Max(c.samples)), len(c.samples), ratio)
		}
	}
	return b.String()
}

func number(v float64) string {
	if v < 10 && v > -10 {
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// machine says where and of what the figures are.
func machine() string {
	version := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			return name + ": none"
		}
		first, _, _ := strings.Cut(string(out), "\n")
		return first
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d CPUs, Linux %s; peers: dockerd: %s; its client: %s; containerd: %s; %s\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), strings.TrimSpace(string(kernel)),
		version("dockerd", "--version"), version("docker", "--version"), version("containerd", "--version"), version("runc", "--version"))
}

// field gives the number after a label of a /proc file.
func field(data []byte, label string) int {
	_, after, ok := bytes.Cut(data, []byte("\n"+label))
	if !ok {
		return 0
	}
	n, _ := strconv.Atoi(string(bytes.Fields(after)[0]))
	return n
}
