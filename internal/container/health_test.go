package container

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
)

func TestJudged(t *testing.T) {
	cfg := &container.HealthConfig{Retries: 2, StartPeriod: 10 * time.Second}
	h := container.Health{Status: container.Starting}
	for i, step := range []struct {
		code   int
		age    time.Duration
		status container.HealthStatus
		streak int
	}{
		{1, time.Second, container.Starting, 0}, // the start period forgives
		{1, 9 * time.Second, container.Starting, 0},
		{1, 10 * time.Second, container.Starting, 1},
		{0, 11 * time.Second, container.Healthy, 0},
		{-1, 12 * time.Second, container.Healthy, 1},
		{137, 13 * time.Second, container.Unhealthy, 2},
		{2, 14 * time.Second, container.Unhealthy, 3},
		{0, 15 * time.Second, container.Healthy, 0},
		{1, 5 * time.Second, container.Healthy, 1}, // once healthy, the start period is over
	} {
		h = judged(h, cfg, &container.HealthcheckResult{ExitCode: step.code, Output: fmt.Sprint(i)}, step.age)
		if h.Status != step.status || h.FailingStreak != step.streak {
			t.Errorf("step %d: %s, streak %d; want %s, %d", i, h.Status, h.FailingStreak, step.status, step.streak)
		}
	}
	if len(h.Log) != 5 || h.Log[0].Output != "4" || h.Log[4].Output != "8" {
		t.Errorf("%d results are kept, the first of step %s", len(h.Log), h.Log[0].Output)
	}
}

func TestNextProbe(t *testing.T) {
	cfg := &container.HealthConfig{Interval: time.Minute, StartPeriod: 10 * time.Second, StartInterval: time.Second}
	start := time.Unix(1_000_000, 0)
	result := func(after time.Duration) []*container.HealthcheckResult {
		return []*container.HealthcheckResult{{End: start.Add(after)}}
	}
	for _, c := range []struct {
		name string
		h    container.Health
		now  time.Duration
		want time.Duration // up to a twentieth of the interval more is right, too
	}{
		{"first", container.Health{Status: container.Starting}, 0, time.Second},
		{"starting", container.Health{Status: container.Starting, Log: result(5 * time.Second)}, 5 * time.Second, time.Second},
		{"healthy early", container.Health{Status: container.Healthy, Log: result(2 * time.Second)}, 2 * time.Second, time.Minute},
		{"start period over", container.Health{Status: container.Starting, Log: result(10 * time.Second)}, 10 * time.Second, time.Minute},
		{"adopted by a new daemon", container.Health{Status: container.Healthy, Log: result(100 * time.Second)}, 140 * time.Second, 20 * time.Second},
		{"overdue", container.Health{Status: container.Healthy, Log: result(100 * time.Second)}, 400 * time.Second, -240 * time.Second},
		{"a clock that was put back", container.Health{Status: container.Healthy, Log: result(time.Hour)}, 0, time.Minute},
	} {
		got, beat := nextProbe(cfg, &c.h, start, start.Add(c.now)), time.Minute/20
		if c.h.Status == container.Starting && c.now < cfg.StartPeriod {
			beat = time.Second / 20
		}
		if got < c.want || got > c.want+beat {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if got := nextProbe(&container.HealthConfig{}, &container.Health{Status: container.Starting}, start, start); got < 30*time.Second || got > 32*time.Second {
		t.Errorf("default interval: %s", got)
	}
}

// TestChecksShareABeat: containers that were started at different moments are
// checked together.
func TestChecksShareABeat(t *testing.T) {
	cfg := &container.HealthConfig{Interval: 2 * time.Second}
	at := map[int64]bool{}
	for i := range 100 {
		now := time.Unix(1_000_000, int64(i)*20e6)
		at[now.Add(nextProbe(cfg, &container.Health{Status: container.Healthy}, now, now)).UnixNano()] = true
	}
	if len(at) != 20 {
		t.Errorf("100 checks of two seconds are made at %d moments", len(at))
	}
}

func TestProbeCommand(t *testing.T) {
	for _, c := range []struct {
		test, shell []string
		want        string
	}{
		{[]string{"CMD", "curl", "-f", "x"}, nil, "curl|-f|x"},
		{[]string{"CMD-SHELL", "a && b"}, nil, "/bin/sh|-c|a && b"},
		{[]string{"CMD-SHELL", "a"}, []string{"/bin/bash", "-euc"}, "/bin/bash|-euc|a"},
		{[]string{"NONE"}, nil, ""},
		{[]string{"what", "x"}, nil, ""},
		{nil, nil, ""},
	} {
		cfg := &container.Config{Shell: c.shell, Healthcheck: &container.HealthConfig{Test: c.test}}
		got := ""
		if checked(cfg.Healthcheck) {
			got = strings.Join(probeCommand(cfg), "|")
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.test, got, c.want)
		}
	}
	if checked(nil) {
		t.Error("a container without a health check is checked")
	}
}

func TestValidateHealth(t *testing.T) {
	check := []string{"CMD", "true"}
	for _, c := range []struct {
		name   string
		health *container.HealthConfig
		action string
		want   string // "": accepted
	}{
		{"none", nil, "", ""},
		{"whole", &container.HealthConfig{Test: check, Interval: time.Millisecond, Retries: 1}, "restart", ""},
		{"no action", nil, "none", ""},
		{"short", &container.HealthConfig{Test: check, StartInterval: time.Microsecond}, "", "StartInterval in Healthcheck cannot be less than 1ms"},
		{"negative", &container.HealthConfig{Test: check, Retries: -1}, "", "Retries in Healthcheck cannot be negative"},
		{"unknown action", &container.HealthConfig{Test: check}, "reboot", `invalid on-failure action "reboot"`},
		{"action without a check", nil, "kill", "cannot set on-failure action to kill without a health check"},
		{"action with the check disabled", &container.HealthConfig{Test: []string{"NONE"}}, "stop", "without a health check"},
	} {
		h := &container.HostConfig{}
		if c.action != "" {
			h.Annotations = map[string]string{OnFailure: c.action}
		}
		err := validateHealth(&container.Config{Healthcheck: c.health}, h)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errs.Is(err, errs.InvalidArgument)):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
