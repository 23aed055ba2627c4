package logstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Demultiplex writes the payload of stdcopy frames, of both streams in their
// order, to w until the end of r.
func Demultiplex(r io.Reader, w io.Writer) error {
	var head [8]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read frame header: %w", err)
		}
		if _, err := io.CopyN(w, r, int64(binary.BigEndian.Uint32(head[4:]))); err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
	}
}
