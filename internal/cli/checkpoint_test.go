package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/checkpoint"
)

// TestCheckpointCommands: what is asked of the daemon, and what is said.
func TestCheckpointCommands(t *testing.T) {
	d := newFakeDaemon(t)
	d.bodies["/containers/web/checkpoints"] = json.RawMessage(`[{"Name":"b10"},{"Name":"b9"}]`)
	d.bodies["/containers/web/checkpoints/b9"] = json.RawMessage("null")
	d.bodies["/containers/b123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/checkpoints"] = json.RawMessage(`[{"Name":"of-c11"}]`)
	d.bodies["/containers/web/start"] = json.RawMessage("null")
	useDaemon(t, d)
	for _, c := range []struct {
		args []string
		want result
	}{
		{[]string{"checkpoint", "ls", "web"}, result{stdout: "CHECKPOINT NAME\nb9\nb10\n"}},
		{[]string{"checkpoint", "create", "web", "b11"}, result{stdout: "b11\n"}},
		{[]string{"checkpoint", "rm", "--checkpoint-dir", "/d", "web", "b9"}, result{}},
		{[]string{"checkpoint", "rm", "web", ".."}, result{stderr: "invalid checkpoint ID \"..\"\n", code: 1}},
		{[]string{"start", "--checkpoint", "b9", "--checkpoint-dir", "/d", "web"}, result{}},
		{[]string{"start", "--checkpoint", "b9", "web", "other"}, result{stderr: "you cannot restore multiple containers at once\n", code: 1}},
	} {
		if got := call(t, "", append([]string{"gantry"}, c.args...)...); got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.args, got, c.want)
		}
	}
	if query, _ := d.sent("/containers/web/checkpoints/b9"); query != "dir=%2Fd" {
		t.Errorf("rm sent %q", query)
	}
	if query, _ := d.sent("/containers/web/start"); query != "checkpoint=b9&checkpoint-dir=%2Fd" {
		t.Errorf("start sent %q", query)
	}
	for exit, args := range map[bool][]string{true: {}, false: {"--leave-running"}} {
		call(t, "", append(append([]string{"gantry", "checkpoint", "create", "--checkpoint-dir", "/d"}, args...), "web", "b11")...)
		var req checkpoint.CreateRequest
		_, body := d.sent("/containers/web/checkpoints")
		if err := json.Unmarshal(body, &req); err != nil || req != (checkpoint.CreateRequest{CheckpointID: "b11", CheckpointDir: "/d", Exit: exit}) {
			t.Errorf("create sent %s", body)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"checkpoint", "create", ""}, "web\n"}, {[]string{"checkpoint", "create", "web", ""}, ":4\n"},
		{[]string{"checkpoint", "ls", ""}, "c11\n"}, {[]string{"checkpoint", "rm", "web", ""}, "b9\n"},
		{[]string{"start", "web", "--checkpoint", ""}, "b10\nb9\n:4\n"}, {[]string{"start", "--checkpoint", ""}, "of-c11\n:4\n"},
	} {
		got := call(t, "", append([]string{"gantry", "__complete"}, c.args...)...)
		if !strings.Contains(got.stdout, c.want) || c.args[1] == "create" && strings.Contains(got.stdout, "c11\n") {
			t.Errorf("complete %q: %q", c.args, got.stdout)
		}
	}
}
