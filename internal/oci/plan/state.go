package plan

import (
	"encoding/json"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// StateWithPid fills the pid into a container's state as hooks read it.
func StateWithPid(state []byte, pid int) ([]byte, error) {
	var s specs.State
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, fmt.Errorf("decode container state: %w", err)
	}
	s.Pid = pid
	return json.Marshal(s)
}
