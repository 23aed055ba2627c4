package plan

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// fill gives every field of v a value of its own, so that one that the codec
// forgets shows.
func fill(v reflect.Value, n *int64) {
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
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range []string{"b", "a"} {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(e, n)
			v.SetMapIndex(reflect.ValueOf(key), e)
		}
	case reflect.String:
		v.SetString(strings.Repeat("s", int(*n%200)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(-*n)
	case reflect.Uint8:
		v.SetUint(uint64(*n & 0xff))
	default:
		v.SetUint(uint64(*n))
	}
}

func TestCodecCarriesEveryField(t *testing.T) {
	want, n := new(Init), int64(0)
	fill(reflect.ValueOf(want).Elem(), &n)
	got, err := Decode(want.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestCodecCarriesZero(t *testing.T) {
	got, err := Decode(new(Init).Encode())
	if err != nil || !reflect.DeepEqual(got, new(Init)) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	p, n := new(Init), int64(0)
	fill(reflect.ValueOf(p).Elem(), &n)
	data := p.Encode()
	for cut := range data {
		if _, err := Decode(data[:cut]); err == nil {
			t.Fatalf("accepted the first %d of %d bytes", cut, len(data))
		}
	}
	if _, err := Decode(append(data, 0)); err == nil {
		t.Error("accepted a byte too many")
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 { // must not panic, whatever comes
		bad := append([]byte(nil), data...)
		bad[random.IntN(len(bad))] = byte(random.IntN(256))
		_, _ = Decode(bad)
	}
}

func FuzzDecode(f *testing.F) {
	p, n := new(Init), int64(0)
	fill(reflect.ValueOf(p).Elem(), &n)
	f.Add(p.Encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Decode(p.Encode())
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
