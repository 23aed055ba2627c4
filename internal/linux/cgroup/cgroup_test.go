package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/errs"
)

func TestLocate(t *testing.T) {
	mounts := func(c []string) string {
		if len(c) == 0 {
			return "/cg/unified"
		}
		if c[0] == "misc" {
			return "" // not mounted
		}
		return "/cg/" + strings.TrimPrefix(strings.Join(c, ","), "name=")
	}
	all, err := parseHierarchies("9:name=systemd:/init\n3:cpu,cpuacct:/own/a\n2:memory:/\n5:misc:/\n0::/own/u:with:colons\n", mounts)
	if err != nil {
		t.Fatal(err)
	}
	g, err := locate(all, "/docker/x")
	if err != nil || g.V1["cpu"] != "/cg/cpu,cpuacct/docker/x" || g.V1["cpuacct"] != g.V1["cpu"] ||
		g.V1["name=systemd"] != "/cg/systemd/docker/x" || g.Unified != "/cg/unified/docker/x" || len(g.V1) != 4 || g.V2() {
		t.Errorf("%+v, %v", g, err)
	}
	if got := len(g.dirs()); got != 4 {
		t.Errorf("%d directories", got)
	}
	if g, err = locate(all, "rel"); err != nil || g.V1["cpu"] != "/cg/cpu,cpuacct/own/a/rel" || g.Unified != "/cg/unified/own/u:with:colons/rel" {
		t.Errorf("relative: %+v, %v", g, err)
	}
	if _, err := locate(all, "/"); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("root: %v", err)
	}
	v2, err := parseHierarchies("0::/user.slice/s\n", func([]string) string { return "/cg" })
	if err != nil {
		t.Fatal(err)
	}
	if g, err = locate(v2, "rel"); err != nil || !g.V2() || g.Unified != "/cg/user.slice/rel" {
		t.Errorf("v2: %+v, %v", g, err)
	}
	if _, err := locate(nil, "/x"); !errs.Is(err, errs.Unsupported) {
		t.Errorf("nothing mounted: %v", err)
	}
	if _, err := parseHierarchies("rubbish\n", mounts); err == nil {
		t.Error("rubbish was accepted")
	}
	if _, err := Locate("a/../../b", "x"); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("escape: %v", err)
	}
}

func rule(text string) DeviceRule {
	var r DeviceRule
	var allow, kind, numbers string
	if _, err := fmt.Sscanf(text, "%s %s %s %s", &allow, &kind, &numbers, &r.Access); err != nil {
		panic(err)
	}
	r.Allow, r.Type, r.Major, r.Minor = allow == "allow", kind[0], -1, -1
	major, minor, _ := strings.Cut(numbers, ":")
	if major != "*" {
		_, _ = fmt.Sscan(major, &r.Major)
	}
	if minor != "*" {
		_, _ = fmt.Sscan(minor, &r.Minor)
	}
	return r
}

func rules(texts ...string) (all []DeviceRule) {
	for _, text := range texts {
		all = append(all, rule(text))
	}
	return all
}

func TestFoldDeviceRules(t *testing.T) {
	for _, tc := range []struct {
		in      []DeviceRule
		allow   bool
		excepts string
		refused string
	}{
		{rules("deny a *:* rwm"), false, "", ""},
		{rules("deny a *:* rwm", "allow c 1:3 r", "allow c 1:3 w"), false, "c 1:3 rw", ""},
		{rules("deny a *:* rwm", "allow c 1:3 rwm", "deny c 1:3 w"), false, "c 1:3 rm", ""},
		{rules("deny a *:* rwm", "allow c 1:3 rw", "deny c 1:3 rwm"), false, "", ""},
		{rules("deny a *:* rwm", "allow c 1:3 rw", "allow a *:* rwm"), true, "", ""},
		{rules("deny a *:* rwm", "allow a *:* m"), false, "b *:* m, c *:* m", ""},
		{rules("deny b 8:0 w"), true, "b 8:0 w", ""},
		{rules("deny a *:* rwm", "deny b 8:0 w"), false, "", ""},
		// Whole exceptions go with what they are part of.
		{rules("deny a *:* rwm", "allow c 10:200 rwm", "allow c 10:229 rw", "allow b 10:1 r", "deny c 10:* rw"), false, "c 10:200 m, b 10:1 r", ""},
		{rules("deny a *:* rwm", "allow c 10:200 rwm", "deny a *:* rw"), false, "c 10:200 m", ""},
		{rules("deny c 1:3 rwm", "allow c *:3 rwm"), true, "", ""},
		// Parts of them cannot.
		{rules("deny a *:* rwm", "allow c 10:* rwm", "deny c 10:200 rwm"), false, "c 10:* rwm", `cannot deny "c 10:200 rwm" within "c 10:* rwm"`},
		{rules("deny a *:* rwm", "allow c *:200 rw", "deny c 10:* w"), false, "c *:200 rw", `cannot deny "c 10:* w" within "c *:200 rw"`},
		{rules("deny c *:* rwm", "allow c 1:3 r"), true, "c *:* rwm", `cannot allow "c 1:3 r" within "c *:* rwm"`},
		{rules("deny a *:* rwm", "allow c 10:* r", "deny c 10:200 wm", "deny b 10:200 r"), false, "c 10:* r", ""},
		{rules("deny a *:* rwm", "allow c 10:* rwm", "deny c 10:200 rwm", "deny a *:* rwm"), false, "", ""},
	} {
		p, err := foldDeviceRules(tc.in)
		var texts []string
		for _, e := range p.except {
			texts = append(texts, e.String())
		}
		if got := strings.Join(texts, ", "); p.allow != tc.allow || got != tc.excepts {
			t.Errorf("%v: got %v, %q", tc.in, p.allow, got)
		}
		refused := Group{V1: map[string]string{"devices": t.TempDir()}}.CheckDevices(tc.in)
		if tc.refused == "" && errors.Join(err, refused) != nil {
			t.Errorf("%v: got %v, %v", tc.in, err, refused)
		}
		if tc.refused != "" && (!errs.Is(refused, errs.InvalidArgument) || !strings.Contains(refused.Error(), tc.refused)) {
			t.Errorf("%v: got %v", tc.in, refused)
		}
		if err := (Group{Unified: t.TempDir()}).CheckDevices(tc.in); err != nil {
			t.Errorf("%v: v2 refuses: %v", tc.in, err)
		}
	}
}

// run interprets a device filter as the kernel would.
func (p bpfProgram) run(t *testing.T, kind, access, major, minor uint32) bool {
	t.Helper()
	ctx := []uint32{access<<16 | kind, major, minor}
	var reg [6]uint64
	for pc, steps := 0, 0; ; pc, steps = pc+1, steps+1 {
		if pc*8 >= len(p) || steps > len(p) {
			t.Fatal("the program runs away")
		}
		in := p[pc*8:]
		dst, off := in[1]&15, int16(binary.NativeEndian.Uint16(in[2:]))
		imm := uint64(int64(int32(binary.NativeEndian.Uint32(in[4:]))))
		switch in[0] {
		case opLoadWord:
			reg[dst] = uint64(ctx[off/4])
		case opMovReg:
			reg[dst] = reg[in[1]>>4]
		case opMovImm:
			reg[dst] = imm
		case opAndImm:
			reg[dst] &= imm
		case opShrImm:
			reg[dst] >>= imm
		case opJumpEqual:
			if reg[dst] == imm {
				pc += int(off)
			}
		case opJumpNot:
			if reg[dst] != imm {
				pc += int(off)
			}
		case opExit:
			return reg[0] == 1
		default:
			t.Fatalf("unknown instruction %#x", in[0])
		}
	}
}

// permits is the meaning of rules in plain words.
func permits(rules []DeviceRule, kind, access, major, minor uint32) bool {
	for _, bit := range []uint32{accessMknod, accessRead, accessWrite} {
		allowed := true
		for _, r := range rules {
			right := r.Type == 'a' || (r.Type == 'b') == (kind == devBlock)
			if right && (r.Major < 0 || uint32(r.Major) == major) && (r.Minor < 0 || uint32(r.Minor) == minor) && uint32(accessMask(r.Access))&bit != 0 {
				allowed = r.Allow
			}
		}
		if access&bit != 0 && !allowed {
			return false
		}
	}
	return true
}

func TestDeviceFilter(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var list []DeviceRule
		if random.IntN(2) == 0 {
			list = rules("deny a *:* rwm")
		}
		for range random.IntN(8) {
			r := DeviceRule{Allow: random.IntN(2) == 0, Type: "abc"[random.IntN(3)], Major: int64(random.IntN(4) - 1), Minor: int64(random.IntN(4) - 1)}
			for _, c := range "rwm" {
				if random.IntN(2) == 0 {
					r.Access += string(c)
				}
			}
			if r.Access != "" {
				list = append(list, r)
			}
		}
		program := compileDeviceFilter(list)
		for kind := uint32(devBlock); kind <= devChar; kind++ {
			for access := uint32(1); access < 8; access++ {
				for n := range uint32(9) {
					if got, want := program.run(t, kind, access, n/3, n%3), permits(list, kind, access, n/3, n%3); got != want {
						t.Fatalf("rules %v: type %d access %d device %d:%d: got %v", list, kind, access, n/3, n%3, got)
					}
				}
			}
		}
	}
}

func TestKeyed(t *testing.T) {
	text := "populated 0\nfrozen 1\noom_kill 12\n"
	if v, ok := keyed(text, "frozen"); !ok || v != "1" {
		t.Errorf("got %q %v", v, ok)
	}
	if v, ok := keyed(text, "oom"); ok || v != "" {
		t.Errorf("got %q %v", v, ok)
	}
}
