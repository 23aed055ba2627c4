package create

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestParseMount holds values with what Docker's CLI 28.2.2 made of them.
func TestParseMount(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want, err string }{
		{"type=bind,src=/a,dst=/b", `{"Type":"bind","Source":"/a","Target":"/b"}`, ""},
		{"type=bind,source=a,target=/b", `{"Type":"bind","Source":"a","Target":"/b"}`, ""},
		{"type=bind,src=./a,dst=/b,ro", `{"Type":"bind","Source":"` + filepath.Join(wd, "a") + `","Target":"/b","ReadOnly":true}`, ""},
		{"type=bind,src=/a,dst=/b,readonly=false", `{"Type":"bind","Source":"/a","Target":"/b"}`, ""},
		{"type=bind,src=/a,dst=/b,readonly=foo", "", "invalid value for readonly: foo"},
		{"type=bind,src=/a,dst=/b,ro=1,bind-propagation=rslave,bind-nonrecursive,consistency=cached", `{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"Consistency":"cached","BindOptions":{"Propagation":"rslave","NonRecursive":true}}`, ""},
		{"type=bind,src=/a,dst=/b,bind-recursive=disabled", `{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"NonRecursive":true}}`, ""},
		{"type=bind,src=/a,dst=/b,bind-recursive=readonly", "", "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"},
		{"type=bind,src=/a,dst=/b,bind-recursive=readonly,ro,bind-propagation=rprivate", `{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rprivate","ReadOnlyForceRecursive":true}}`, ""},
		{"type=bind,src=/a,dst=/b,bind-recursive=writable,ro", `{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"ReadOnlyNonRecursive":true}}`, ""},
		{"type=bind,src=/a,dst=/b,bind-recursive=foo", "", `invalid value for bind-recursive: foo (must be "enabled", "disabled", "writable", or "readonly")`},
		{"type=bind,src=/a,dst=/b,bind-recursive=enabled", `{"Type":"bind","Source":"/a","Target":"/b"}`, ""},
		{"src=v,dst=/b", `{"Type":"volume","Source":"v","Target":"/b"}`, ""},
		{"dst=/b", `{"Type":"volume","Target":"/b"}`, ""},
		{"src=v", "", "target is required"},
		{"type=volume,src=v,dst=/b,volume-nocopy,volume-label=a=b,volume-label=c,volume-driver=d,volume-opt=x=y,volume-subpath=s", `{"Type":"volume","Source":"v","Target":"/b","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b","c":""},"Subpath":"s","DriverConfig":{"Name":"d","Options":{"x":"y"}}}}`, ""},
		{"type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777", `{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":1023}}`, ""},
		{"type=tmpfs,dst=/t,tmpfs-mode=9", "", "invalid value for tmpfs-mode: 9"},
		{"type=tmpfs,dst=/t,tmpfs-size=x", "", "invalid value for tmpfs-size: x"},
		{"type=image,src=a,dst=/t,image-subpath=q", `{"Type":"image","Source":"a","Target":"/t","ImageOptions":{"Subpath":"q"}}`, ""},
		{"type=bind,src=/a,dst=/b,volume-nocopy", "", "cannot mix 'volume-*' options with mount type 'bind'"},
		{"type=volume,src=a,dst=/b,bind-propagation=rslave", "", "cannot mix 'bind-*' options with mount type 'volume'"},
		{"type=volume,dst=/b,tmpfs-size=1m", "", "cannot mix 'tmpfs-*' options with mount type 'volume'"},
		{"type=volume,src=a,dst=/b,image-subpath=x", "", "cannot mix 'image-*' options with mount type 'volume'"},
		{"type=bind,src=/a,dst=/b,foo=bar", "", "unexpected key 'foo' in 'foo=bar'"},
		{"type=bind,src=/a,dst=/b,foo", "", "invalid field 'foo' must be a key=value pair"},
		{"type=bind, src=/a,dst=/b", "", "unexpected key ' src' in ' src=/a'"},
		{"", "", "EOF"},
		{"TYPE=BIND,Src=/a,dst=b", `{"Type":"bind","Source":"/a","Target":"b"}`, ""},
		{`"type=bind","src=/a,b",dst=/c`, `{"Type":"bind","Source":"/a,b","Target":"/c"}`, ""},
		{`type=bind,src="a`, "", `parse error on line 1, column 15: bare " in non-quoted-field`},
		{"type=volume,dst=/b,volume-opt", "", "invalid field 'volume-opt' must be a key=value pair"},
	} {
		m, err := ParseMount(c.in)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%q: error %v, want %q", c.in, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got, _ := json.Marshal(m); string(got) != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate")
	f.Add(`"type=volume",dst=/b,volume-opt="a=b,c"`)
	f.Add("type=tmpfs,dst=/t,tmpfs-mode=1777,tmpfs-size=9e99")
	f.Fuzz(func(t *testing.T, in string) {
		m, err := ParseMount(in)
		if err == nil && (m.Target == "" || m.Type == "") {
			t.Errorf("%q gives a mount without target or type: %+v", in, m)
		}
	})
}
