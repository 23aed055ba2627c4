package oci

import (
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// hostNetwork is how a container looks to this package when the daemon made its
// network namespace ahead.
func hostNetwork(s *specs.Spec) *specs.Spec {
	s.Linux.Namespaces = without(s, specs.NetworkNamespace)
	s.Mounts = append(s.Mounts[:3:3], specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "ro"}})
	return s
}

func benchRun(b *testing.B, r *Runtime, bundle string, make func() *specs.Spec) {
	c, p, err := r.Run(b.Context(), testenv.Unique("bench"), CreateOptions{Bundle: bundle, Spec: make()})
	if err != nil {
		b.Error(err)
		return
	}
	wait(b, p)
	if err := c.Delete(b.Context(), false); err != nil {
		b.Error(err)
	}
}

// BenchmarkRun is run, wait and delete of true, as the supervisor does it.
func BenchmarkRun(b *testing.B) {
	r, bundle := newRuntime(b), newBundle(b)
	for name, make := range map[string]func() *specs.Spec{
		"new network":   func() *specs.Spec { return newSpec("true") },
		"given network": func() *specs.Spec { return hostNetwork(newSpec("true")) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				benchRun(b, r, bundle, make)
			}
		})
		b.Run(name+", 8 at a time", func(b *testing.B) {
			var group sync.WaitGroup
			slots := make8()
			for b.Loop() {
				slots <- struct{}{}
				group.Go(func() { benchRun(b, r, bundle, make); <-slots })
			}
			group.Wait()
		})
	}
}

func make8() chan struct{} { return make(chan struct{}, 8) }

// BenchmarkExec is exec and wait of true.
func BenchmarkExec(b *testing.B) {
	c := background(b, nil)
	for b.Loop() {
		p, err := c.Exec(b.Context(), ExecOptions{Process: newProcess("true")})
		if err != nil {
			b.Fatal(err)
		}
		wait(b, p)
	}
}

// BenchmarkDelete ends and deletes containers that run.
func BenchmarkDelete(b *testing.B) {
	r, bundle := newRuntime(b), newBundle(b)
	for b.Loop() {
		b.StopTimer()
		c, p, err := r.Run(b.Context(), testenv.Unique("bench"), CreateOptions{Bundle: bundle, Spec: hostNetwork(newSpec("sleep", "1000"))})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := c.Signal(b.Context(), unix.SIGKILL, false); err != nil {
			b.Fatal(err)
		}
		wait(b, p)
		if err := c.Delete(b.Context(), true); err != nil {
			b.Fatal(err)
		}
	}
}
