package systemd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Kinds of messages, and the fields of their heads ("D-Bus Specification",
// Message Format).
const (
	kindCall   = 1
	kindReturn = 2
	kindError  = 3
	kindSignal = 4

	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSignature   = 8
)

// maxMessage is far more than systemd says at a time.
const maxMessage = 1 << 20

// message is one that came.
type message struct {
	kind                             byte
	replyTo                          uint32
	iface, member, errorName, bodyOf string // bodyOf: the body's signature
	body                             decoder
}

// encoder writes values one after the other, each aligned as its type demands.
type encoder struct{ out []byte }

func (e *encoder) align(n int) {
	for len(e.out)%n != 0 {
		e.out = append(e.out, 0)
	}
}

func (e *encoder) uint32(v uint32) {
	e.align(4)
	e.out = binary.LittleEndian.AppendUint32(e.out, v)
}

func (e *encoder) uint64(v uint64) {
	e.align(8)
	e.out = binary.LittleEndian.AppendUint64(e.out, v)
}

func (e *encoder) text(s string) {
	e.uint32(uint32(len(s)))
	e.out = append(append(e.out, s...), 0)
}

func (e *encoder) signature(s string) {
	e.out = append(append(append(e.out, byte(len(s))), s...), 0)
}

func (e *encoder) value(v Value) {
	switch d := v.data.(type) {
	case bool:
		var n uint32
		if d {
			n = 1
		}
		e.uint32(n)
	case byte:
		e.out = append(e.out, d)
	case int16:
		e.uint16(uint16(d))
	case uint16:
		e.uint16(d)
	case int32:
		e.uint32(uint32(d))
	case uint32:
		e.uint32(d)
	case int64:
		e.uint64(uint64(d))
	case uint64:
		e.uint64(d)
	case float64:
		e.uint64(math.Float64bits(d))
	case []byte:
		e.uint32(uint32(len(d)))
		e.out = append(e.out, d...)
	case string:
		if v.signature == "g" {
			e.signature(d)
		} else {
			e.text(d)
		}
	case Value:
		e.signature(d.signature)
		e.value(d)
	case []Value:
		e.list(v.signature, d)
	}
}

func (e *encoder) uint16(v uint16) {
	e.align(2)
	e.out = binary.LittleEndian.AppendUint16(e.out, v)
}

// list writes a structure, or an array with its length, which counts from where
// the first element is.
func (e *encoder) list(signature string, elements []Value) {
	if signature[0] == '(' {
		e.align(8)
		for _, v := range elements {
			e.value(v)
		}
		return
	}
	e.uint32(0)
	length := len(e.out) - 4
	e.align(alignment(signature[1]))
	first := len(e.out)
	for _, v := range elements {
		e.value(v)
	}
	binary.LittleEndian.PutUint32(e.out[length:], uint32(len(e.out)-first))
}

func alignment(kind byte) int {
	switch kind {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}

// call makes the message of a method call.
func call(serial uint32, destination, path, iface, member string, args []Value) []byte {
	var body encoder
	signature := ""
	for _, v := range args {
		signature += v.signature
		body.value(v)
	}
	field := func(n byte, v Value) Value { return Struct(Value{"y", n}, variant(v)) }
	fields := []Value{
		field(fieldPath, Value{"o", path}), field(fieldInterface, String(iface)), field(fieldMember, String(member)),
	}
	if destination != "" {
		fields = append(fields, field(fieldDestination, String(destination)))
	}
	if signature != "" {
		fields = append(fields, field(fieldSignature, Value{"g", signature}))
	}
	e := encoder{out: []byte{'l', kindCall, 0, 1}} // little-endian, no flags, version 1
	e.uint32(uint32(len(body.out)))
	e.uint32(serial)
	e.value(Array("(yv)", fields...))
	e.align(8)
	return append(e.out, body.out...)
}

// decoder reads what an encoder wrote. After the first damage all is empty.
type decoder struct {
	data  []byte
	at    int
	order binary.ByteOrder
	err   error
}

var errDamaged = errors.New("damaged D-Bus message")

func (d *decoder) take(n, align int) []byte {
	at := (d.at + align - 1) / align * align
	if d.err != nil || n < 0 || at > len(d.data) || n > len(d.data)-at {
		d.err = errDamaged
		return make([]byte, min(max(n, 0), 8))
	}
	d.at = at + n
	return d.data[at:d.at]
}

func (d *decoder) uint32() uint32 { return d.order.Uint32(d.take(4, 4)) }

func (d *decoder) text() string {
	n := d.uint32()
	if n > maxMessage {
		d.err = errDamaged
		return ""
	}
	s := string(d.take(int(n)+1, 1))
	return s[:len(s)-1]
}

func (d *decoder) signature() string {
	n := d.take(1, 1)[0]
	s := string(d.take(int(n)+1, 1))
	return s[:len(s)-1]
}

// field reads a field's value if it is a text or a number.
func (d *decoder) field() (text string, number uint32) {
	switch d.signature() {
	case "s", "o":
		return d.text(), 0
	case "g":
		return d.signature(), 0
	case "u":
		return "", d.uint32()
	}
	d.err = errDamaged // the specification has no others
	return "", 0
}

// receive reads the next message.
func receive(r *bufio.Reader) (message, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return message{}, err
	}
	d := decoder{data: head, at: 4, order: binary.LittleEndian}
	switch head[0] {
	case 'l':
	case 'B':
		d.order = binary.BigEndian
	default:
		return message{}, errDamaged
	}
	bodySize, _, fieldsSize := d.uint32(), d.uint32(), d.uint32()
	if bodySize > maxMessage || fieldsSize > maxMessage {
		return message{}, fmt.Errorf("%w: more than %d bytes", errDamaged, maxMessage)
	}
	start := (16 + int(fieldsSize) + 7) / 8 * 8
	all := append(head, make([]byte, start-16+int(bodySize))...)
	if _, err := io.ReadFull(r, all[16:]); err != nil {
		return message{}, err
	}
	m := message{kind: head[1], body: decoder{data: all[start:], order: d.order}}
	d = decoder{data: all[:16+fieldsSize], at: 16, order: d.order}
	for d.at < len(d.data) && d.err == nil {
		m.set(&d)
	}
	return m, d.err
}

func (m *message) set(d *decoder) {
	code := d.take(1, 8)[0]
	text, number := d.field()
	switch code {
	case fieldInterface:
		m.iface = text
	case fieldMember:
		m.member = text
	case fieldErrorName:
		m.errorName = text
	case fieldReplySerial:
		m.replyTo = number
	case fieldSignature:
		m.bodyOf = text
	}
}
