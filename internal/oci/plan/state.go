package plan

import (
	"encoding/json"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// OffsetsText is a list of offsets as the file timens_offsets takes it.
func OffsetsText(list []TimeOffset) string {
	var text strings.Builder
	for _, o := range list {
		fmt.Fprintf(&text, "%s %d %d\n", o.Clock, o.Secs, o.Nanosecs)
	}
	return text.String()
}

// StateWithPid fills the pid into a container's state as hooks read it.
func StateWithPid(state []byte, pid int) ([]byte, error) {
	var s specs.State
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, fmt.Errorf("decode container state: %w", err)
	}
	s.Pid = pid
	return json.Marshal(s)
}
