package container

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
)

// TestLabelOptions: what a container's other options say of its SELinux context,
// unless the user says it.
func TestLabelOptions(t *testing.T) {
	s := &Service{}
	for _, tt := range []struct {
		host container.HostConfig
		want []string
	}{
		{container.HostConfig{}, nil},
		{container.HostConfig{Privileged: true}, []string{"label=disable"}},
		{container.HostConfig{PidMode: "host"}, []string{"label=disable"}},
		{container.HostConfig{IpcMode: "host"}, []string{"label=disable"}},
		{container.HostConfig{IpcMode: "host", SecurityOpt: []string{"label=type:x_t"}}, nil},
		{container.HostConfig{Privileged: true, SecurityOpt: []string{"seccomp=unconfined"}}, []string{"label=disable"}},
	} {
		if got, err := s.labelOptions(&tt.host); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, %v", tt.host, got, err)
		}
	}
}

func TestRelabelMode(t *testing.T) {
	for mode, want := range map[string]string{"": "", "ro": "", "z": "z", "ro,Z": "Z", "nocopy,z": "z", "rprivate,ro": ""} {
		if got := relabelMode(mode); got != want {
			t.Errorf("%q: %q, want %q", mode, got, want)
		}
	}
}

// TestWithoutModules: where there are neither AppArmor nor SELinux, their options
// are kept and have no effect, as in Docker.
func TestWithoutModules(t *testing.T) {
	s := &Service{}
	if got, err := s.appArmor(t.Context(), "some-profile", false); err != nil || got != "" {
		t.Errorf("profile %q, %v", got, err)
	}
	if got, err := s.newLabels([]string{"nonsense"}); err != nil || got != (labels{}) {
		t.Errorf("contexts %+v, %v", got, err)
	}
	s.Defaults.SELinux = false
	r := &record{Host: &container.HostConfig{}, Labels: labels{"p", "m"}}
	if got := s.labelsOf(r); got != (labels{}) {
		t.Errorf("contexts of an earlier daemon with SELinux: %+v", got)
	}
	s.Defaults.SELinux, r.Host.Privileged = true, true
	if got := s.labelsOf(r); got != (labels{Mount: "m"}) {
		t.Errorf("contexts of a privileged container: %+v", got)
	}
}
