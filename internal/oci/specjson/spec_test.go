package specjson

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// fill sets every exported field of v to something different from zero, so that
// a field that the reader forgets shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e, n)
		v.SetMapIndex(reflect.ValueOf("kéy\n\"<"), e)
	case reflect.String:
		v.SetString("wörd\t\u2028&" + strings.Repeat("x", *n%7))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(-*n))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Interface: // only in parts for other systems
	default:
		panic(v.Kind().String())
	}
}

func full() *specs.Spec {
	s, n := &specs.Spec{}, 0
	fill(reflect.ValueOf(s).Elem(), &n)
	s.Solaris, s.Windows, s.VM, s.ZOS, s.FreeBSD = nil, nil, nil, nil, nil
	return s
}

func TestDecodeReadsEveryField(t *testing.T) {
	want := full()
	data, err := json.MarshalIndent(want, " ", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		a, _ := json.MarshalIndent(got, "", " ")
		b, _ := json.MarshalIndent(want, "", " ")
		t.Fatalf("got %s\nwant %s", a, b)
	}
}

func TestDecodeSkipsOtherSystems(t *testing.T) {
	got, err := Decode([]byte(`{"windows":{"layerFolders":["a",{"b":[1,-2.5e3,true,null]}]},"hostname":"h","x":"\ud83d\ude00"}`))
	if err != nil || got.Hostname != "h" || got.Windows != nil {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestDecodeRejects(t *testing.T) {
	for _, in := range []string{
		``, `{`, `[]`, `{"hostname":1}`, `{"hostname":"a`, `{"hostname":"a"}x`, `{"process":{"user":{"uid":-1}}}`,
		`{"process":{"user":{"uid":4294967296}}}`, `{"process":{"user":{"uid":1.5}}}`, `{"process":{"user":{"uid":01}}}`,
		`{"process":{"terminal":"yes"}}`, `{"mounts":{}}`, "{\"hostname\":\"a\nb\"}", `{"hostname":"\x"}`, `{"hostname":"\u12"}`,
		`{"a":tru}`, `{"a":1,}`, `{"linux":{"resources":{"blockIO":{"weight":65536}}}}`, `{,}`, `{"a"}`,
		`{"linux":{"resources":{"memory":{"limit":9223372036854775808}}}}`, strings.Repeat(`{"a":`, 20000),
	} {
		if _, err := Decode([]byte(in)); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%.60q: got %v", in, err)
		}
	}
}

func TestDecodeLargeNumbers(t *testing.T) {
	got, err := DecodeProcess([]byte(`{"rlimits":[{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":0}]}`))
	if err != nil || got.Rlimits[0].Hard != 1<<64-1 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// FuzzDecode holds the reader against encoding/json: whatever one accepts, the
// other does too, with the same result.
func FuzzDecode(f *testing.F) {
	data, err := json.Marshal(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	if dir, err := os.ReadDir("testdata"); err == nil {
		for _, e := range dir {
			if b, err := os.ReadFile("testdata/" + e.Name()); err == nil && !e.IsDir() {
				f.Add(b)
			}
		}
	}
	f.Add([]byte(`{"process":{"args":["a",null],"user":{"uid":1}},"linux":{"sysctl":{"a":"b","a":"c"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Decode(data)
		if err != nil {
			return // stricter about nothing but what encoding/json folds: names' case
		}
		if !json.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		if foldedNames(data) {
			return
		}
		var want specs.Spec
		if err := json.Unmarshal(data, &want); err != nil {
			if bytes.Contains(data, []byte("solaris")) || bytes.Contains(data, []byte("windows")) || bytes.Contains(data, []byte("vm")) ||
				bytes.Contains(data, []byte("zos")) || bytes.Contains(data, []byte("freebsd")) || bytes.ContainsRune(data, '\\') {
				return
			}
			t.Fatalf("accepted what encoding/json refuses: %v: %q", err, data)
		}
		want.Solaris, want.Windows, want.VM, want.ZOS, want.FreeBSD = nil, nil, nil, nil, nil
		a, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("%q\ngot  %s\nwant %s", data, a, b)
		}
	})
}

// foldedNames tells whether names could differ in case only, or be given twice:
// encoding/json merges such values in ways of its own.
func foldedNames(data []byte) bool {
	seen := map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		tok, err := dec.Token()
		if err != nil {
			return false
		}
		if s, ok := tok.(string); ok {
			for _, r := range s {
				if r >= 0x80 {
					return true
				}
			}
			if l := strings.ToLower(s); l != s && !knownNames[s] || seen[l] {
				return true
			} else {
				seen[l] = true
			}
		}
	}
}

var knownNames = func() map[string]bool {
	all := map[string]bool{}
	var walk func(t reflect.Type)
	seen := map[reflect.Type]bool{}
	walk = func(t reflect.Type) {
		if seen[t] {
			return
		}
		seen[t] = true
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
				all[name] = true
				walk(t.Field(i).Type)
			}
		}
	}
	walk(reflect.TypeFor[specs.Spec]())
	return all
}()

func BenchmarkDecode(b *testing.B) {
	data, err := json.Marshal(full())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("specjson", func(b *testing.B) {
		for b.Loop() {
			if _, err := Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding", func(b *testing.B) {
		for b.Loop() {
			var s specs.Spec
			if err := json.Unmarshal(data, &s); err != nil {
				b.Fatal(err)
			}
		}
	})
}
