package systemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// TestCallAsOthersReadIt has another implementation read what is sent.
func TestCallAsOthersReadIt(t *testing.T) {
	list := []Property{
		{"Delegate", Bool(true)}, {"PIDs", Array("u", Uint32(7), Uint32(8))}, {"AllowedCPUs", Bytes([]byte{13})},
		{"IOReadBandwidthMax", Array("(st)", Struct(String("/dev/block/8:0"), Uint64(1000)))}, {"DeviceAllow", Array("(ss)")},
		{"Odd", Array("v", variant(Value{"n", int16(-5)}))}, {"Real", Value{"d", 1.5}}, {"Path", Value{"o", "/a"}}, {"Type", Value{"g", "a(st)"}},
	}
	data := call(9, service, object, manager, "SetUnitProperties", []Value{String("ä.scope"), Bool(true), properties(list)})
	m, err := dbus.DecodeMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.IsValid(); err != nil || m.Type != dbus.TypeMethodCall || m.Serial() != 9 {
		t.Errorf("%v, %+v", err, m)
	}
	for field, want := range map[dbus.HeaderField]any{
		dbus.FieldDestination: service, dbus.FieldPath: dbus.ObjectPath(object), dbus.FieldInterface: manager, dbus.FieldMember: "SetUnitProperties",
	} {
		if got := m.Headers[field].Value(); got != want {
			t.Errorf("field %d: got %v", field, got)
		}
	}
	if m.Body[0] != "ä.scope" || m.Body[1] != true || len(m.Body) != 3 {
		t.Fatalf("%v", m.Body)
	}
	for i, p := range m.Body[2].([][]any) {
		if p[0] != list[i].Name || p[1].(dbus.Variant).Signature().String() != list[i].Value.signature {
			t.Errorf("%d: got %#v", i, p)
		}
	}
	got := m.Body[2].([][]any)[3][1].(dbus.Variant).Value()
	if !reflect.DeepEqual(got, [][]any{{"/dev/block/8:0", uint64(1000)}}) {
		t.Errorf("got %#v", got)
	}
}

// written is a message that another implementation makes.
func written(t *testing.T, m *dbus.Message, order binary.ByteOrder) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := m.EncodeTo(&out, order); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func jobRemoved(job, result string) *dbus.Message {
	return &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath(object)), dbus.FieldInterface: dbus.MakeVariant(manager), dbus.FieldMember: dbus.MakeVariant("JobRemoved"),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(uint32(1), dbus.ObjectPath("/"), "", "")),
	}, Body: []any{uint32(3), dbus.ObjectPath(job), "a.scope", result}}
}

func reply(kind dbus.Type, to uint32, name string, body ...any) *dbus.Message {
	m := &dbus.Message{Type: kind, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(to)}, Body: body}
	if name != "" {
		m.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	return m
}

// TestReceive reads what another implementation writes, in both byte orders.
func TestReceive(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		var in bytes.Buffer
		for _, m := range []*dbus.Message{
			jobRemoved("/job/3", "done"), reply(dbus.TypeMethodReply, 7, "", dbus.ObjectPath("/job/3")), reply(dbus.TypeError, 8, "a.b.NoSuchUnit", "no unit"),
		} {
			m.Headers[dbus.FieldSender] = dbus.MakeVariant(":1.3")
			in.Write(written(t, m, order))
		}
		c := &Conn{in: bufio.NewReader(&in), results: map[string]string{}}
		if _, err := c.next(); err != nil || c.results["/job/3"] != "done" {
			t.Errorf("%v: %v, %v", order, c.results, err)
		}
		m, err := c.next()
		if job := m.body.text(); err != nil || m.kind != kindReturn || m.replyTo != 7 || m.bodyOf != "o" || job != "/job/3" {
			t.Errorf("%v: %+v, %q, %v", order, m, job, err)
		}
		m, err = c.next()
		if text := m.body.text(); err != nil || m.kind != kindError || m.replyTo != 8 || m.errorName != "a.b.NoSuchUnit" || text != "no unit" {
			t.Errorf("%v: %+v, %q, %v", order, m, text, err)
		}
		if _, err := c.next(); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	}
}

// FuzzReceive looks for messages that do harm.
func FuzzReceive(f *testing.F) {
	for _, m := range []*dbus.Message{jobRemoved("/j", "failed"), reply(dbus.TypeError, 8, "a.b.C", "text")} {
		var out bytes.Buffer
		if err := m.EncodeTo(&out, binary.LittleEndian); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	f.Add([]byte("l\x02\x00\x01\xff\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Conn{in: bufio.NewReader(bytes.NewReader(data)), results: map[string]string{}}
		for {
			m, err := c.next()
			if err != nil {
				return
			}
			m.body.text()
		}
	})
}

// TestParseAsOthersDo compares with another reader of the text form.
func TestParseAsOthersDo(t *testing.T) {
	for _, text := range []string{
		"true", "false", "7", "-7", "0x1f", "uint64 7", "byte 255", "int16 -3", "uint16 3", "uint32 4", "int64 -5", "1.5", "1e3",
		"'inactive-or-failed'", `"double"`, `'a\'b\"c\\d\n\u00e4'`, "['a', 'b']", "[ 1,2 ]", "@as []", "@as ['x']", "[['a'], ['b', 'c']]", "@t 7", "@au [7, 8]",
		"objectpath '/a'", "[byte 1, byte 2]", " true ", "uint64 18446744073709551615",
	} {
		v, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		theirs, err := dbus.ParseVariant(text, dbus.Signature{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		m, err := dbus.DecodeMessage(bytes.NewReader(call(1, "a.b", "/", "a.b", "C", []Value{variant(v)})))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := m.Body[0].(dbus.Variant); got.Signature() != theirs.Signature() || !reflect.DeepEqual(got.Value(), theirs.Value()) {
			t.Errorf("%s: got %v, want %v", text, got, theirs)
		}
	}
	if v, err := Parse("double 2"); err != nil || v != (Value{"d", 2.0}) {
		t.Errorf("got %v, %v", v, err)
	}
	for _, text := range []string{
		"", " ", "'", "'a", "[", "[1", "[1,]", "[,1]", "[1 2]", "[]", "@as", "@as ['a', 1]", "byte 256", "uint64 -1", "1 2", "x", "true false", "byte 'a'", "@s 1", "{'a': 1}",
		"<1", "99999999999", `'\q'`, "@( []", strings.Repeat("[", 100000),
	} {
		if v, err := Parse(text); err == nil {
			t.Errorf("%.20s: got %v", text, v)
		}
	}
}

// FuzzParse looks for texts that do harm, or that become what others cannot read.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"uint64 7", "['a', \"b\"]", "@a(st) []", "[[byte 1]]", "<<true>>", `'\u00e4\x'`, "b'x'"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := dbus.DecodeMessage(bytes.NewReader(call(1, "a.b", "/", "a.b", "C", []Value{variant(v)}))); err != nil && v.signature != "o" && !strings.Contains(v.signature, "g") {
			t.Errorf("%q gives %s of type %s: %v", text, v, v.signature, err)
		}
	})
}
