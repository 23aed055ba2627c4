package container

import (
	"encoding/json"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkStartSpec is the pure part of a start: plan, filter, encoding.
func BenchmarkStartSpec(b *testing.B) {
	s := &Service{}
	for b.Loop() {
		sp, err := testPlan().spec()
		if err != nil {
			b.Fatal(err)
		}
		if sp.Linux.Seccomp, err = s.seccomp("", false, sp); err != nil {
			b.Fatal(err)
		}
		if _, err := json.Marshal(sp); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeSpec is the supervisor's side of it.
func BenchmarkDecodeSpec(b *testing.B) {
	s := &Service{}
	sp, err := testPlan().spec()
	if err != nil {
		b.Fatal(err)
	}
	if sp.Linux.Seccomp, err = s.seccomp("", false, sp); err != nil {
		b.Fatal(err)
	}
	data, err := json.Marshal(sp)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var got specs.Spec
		if err := json.Unmarshal(data, &got); err != nil {
			b.Fatal(err)
		}
	}
}
