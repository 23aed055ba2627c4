package supervisor

import (
	"github.com/gantry-run/gantry/internal/logstream/jsonfile"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// openLog opens a container's log for appending; nil if it has none.
func openLog(l wire.Log) (logWriter, error) {
	if l.Path == "" {
		return nil, nil
	}
	return jsonfile.New(l.Path, l.MaxSize, l.MaxFile, l.Compress, l.Attrs)
}
