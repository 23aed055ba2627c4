package oci

import (
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// loadProfile loads an AppArmor profile with the given rules besides those that
// allow everything else, and unloads it with the test.
func loadProfile(t testing.TB, rules string) (name string) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.AppArmor, testenv.Tool("apparmor_parser"))
	name = testenv.Unique("gantry-oci")
	text := "profile " + name + " flags=(attach_disconnected,mediate_deleted) {\n\tfile,\n\tcapability,\n\tnetwork,\n\tmount,\n\tumount,\n\tsignal,\n\tptrace,\n\tunix,\n" + rules + "\n}\n"
	for _, action := range []string{"--replace", "--remove"} {
		parse := func() {
			cmd := exec.Command("apparmor_parser", "--skip-cache", action)
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("apparmor_parser %s: %v\n%s", action, err, out)
			}
		}
		if action == "--remove" {
			t.Cleanup(parse)
		} else {
			parse()
		}
	}
	return name
}

const showProfile = "cat /proc/self/attr/current; "

func TestAppArmorProfile(t *testing.T) {
	name := loadProfile(t, "\tdeny /tmp/secret rw,\n\tdeny /etc/passwd r,")
	const script = showProfile + "echo x >/tmp/secret; cat /etc/passwd; echo y >/tmp/other && cat /tmp/other"
	for _, noNewPrivs := range []bool{false, true} {
		res := run(t, script, func(s *specs.Spec) {
			s.Process.ApparmorProfile, s.Process.NoNewPrivileges = name, noNewPrivs
		})
		if res.out != name+" (enforce)\ny\n" || strings.Count(res.err, "ermission denied") != 2 {
			t.Errorf("with no_new_privs %t: %q, %q", noNewPrivs, res.out, res.err)
		}
	}
	if res := run(t, script, nil); !strings.HasPrefix(res.out, "unconfined\nroot:x:0:") || res.err != "" {
		t.Errorf("without a profile: %q, %q", res.out, res.err)
	}
}

func TestAppArmorExec(t *testing.T) {
	name, other := loadProfile(t, "\tdeny /tmp/secret w,"), loadProfile(t, "")
	for _, noNewPrivs := range []bool{false, true} {
		c := background(t, func(s *specs.Spec) {
			s.Process.ApparmorProfile, s.Process.NoNewPrivileges = name, noNewPrivs
		})
		for _, tt := range []struct{ profile, want string }{
			{"", name}, // the container's
			{other, other},
		} {
			p := newProcess("sh", "-c", showProfile+"echo x 2>/dev/null >/tmp/secret || echo denied")
			p.ApparmorProfile, p.NoNewPrivileges = tt.profile, noNewPrivs
			res, err := execIn(t, c, p)
			want := tt.want + " (enforce)\n"
			if tt.want == name {
				want += "denied\n"
			}
			if err != nil || res.out != want {
				t.Errorf("exec with profile %q, no_new_privs %t: %v, %q, %q; want %q", tt.profile, noNewPrivs, err, res.out, res.err, want)
			}
		}
	}
}

// TestAppArmorUnknownProfile: a profile that is not loaded is an error of create
// and exec that says so, as runc's does, and leaves nothing behind.
func TestAppArmorUnknownProfile(t *testing.T) {
	testenv.Need(t, testenv.AppArmor)
	r := newRuntime(t)
	check := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "unable to apply apparmor profile") || !strings.Contains(err.Error(), "gantry-none") || !strings.Contains(err.Error(), unix.ENOENT.Error()) {
			t.Errorf("profile that is not loaded: %v", err)
		}
	}
	spec := newSpec("true")
	spec.Process.ApparmorProfile = "gantry-none"
	_, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
	check(err)

	c := background(t, nil)
	p := newProcess("true")
	p.ApparmorProfile = "gantry-none"
	_, err = execIn(t, c, p)
	check(err)
	if res, err := execIn(t, c, newProcess("true")); err != nil || res.code != 0 {
		t.Errorf("the container after a failed exec: %v, %+v", err, res)
	}
}
