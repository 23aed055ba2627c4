package criu

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// message is an encoded message of criu's protocol, which is Protocol Buffers.
// The few kinds of fields that it has are written by hand: the library costs more
// start-up time than a whole run of a container.
type message []byte

const (
	wireVarint = 0
	wireBytes  = 2
)

// number appends an integer, unless it is 0.
func (m *message) number(field int, n int) {
	if n != 0 {
		*m = binary.AppendUvarint(*m, uint64(field)<<3|wireVarint)
		*m = binary.AppendUvarint(*m, uint64(n))
	}
}

func (m *message) flag(field int, on bool) {
	if on {
		m.number(field, 1)
	}
}

// text appends a string, unless it is empty.
func (m *message) text(field int, s string) {
	if s != "" {
		m.bytes(field, []byte(s))
	}
}

// bytes appends a string or a message inside of this one.
func (m *message) bytes(field int, b []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|wireBytes)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

// texts appends strings that are one field.
func (m *message) texts(field int, list []string) {
	for _, s := range list {
		m.text(field, s)
	}
}

// fields calls f for each field, with the number or the bytes that it has.
func (m message) fields(f func(field int, n uint64, b []byte) error) error {
	broken := errors.New("the answer of criu is cut off")
	for len(m) > 0 {
		key, size := binary.Uvarint(m)
		if size <= 0 {
			return broken
		}
		m = m[size:]
		n, size := binary.Uvarint(m)
		if size <= 0 {
			return broken
		}
		m = m[size:]
		var b []byte
		switch key & 7 {
		case wireVarint:
		case wireBytes:
			if n > uint64(len(m)) {
				return broken
			}
			b, m, n = m[:n], m[n:], 0
		default:
			return fmt.Errorf("the answer of criu has a field of kind %d", key&7)
		}
		if err := f(int(key>>3), n, b); err != nil {
			return err
		}
	}
	return nil
}
