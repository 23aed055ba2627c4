package oci

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// fill gives every field below v a value that is not zero.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1700000000, int64(*n)*1001).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString([]string{"plain", "with \"quotes\" & <marks>", "é\n"}[*n%3] + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(int64(-*n))
	case reflect.Uint, reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	}
}

// TestRecordEncoding holds the hand-written encoding against encoding/json: a new
// field that it lacks fails here.
func TestRecordEncoding(t *testing.T) {
	var full record
	n := 0
	fill(reflect.ValueOf(&full).Elem(), &n)
	for name, r := range map[string]*record{"empty": {}, "full": &full} {
		got, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(got, &a); err != nil {
			t.Fatalf("%s: %v in %s", name, err, got)
		}
		if err := json.Unmarshal(want, &b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		group, err := encodeGroup(r.Cgroup)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := json.Marshal(r.Cgroup); err != nil || string(group) != string(want) {
			t.Errorf("%s: group is %s, want %s, %v", name, group, want, err)
		}
	}
}
