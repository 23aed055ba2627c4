package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestSetAuthKeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(t.TempDir(), "elsewhere.json")
	if err := os.WriteFile(real, []byte(`{"psFormat":"x","plugins":{"a":{"b":"c"}},"auths":{"r1":{"auth":"YTpi"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Join(dir, FileName)); err != nil {
		t.Fatal(err)
	}
	f, err := Load(dir)
	if err != nil || f.PsFormat != "x" || f.Auths["r1"].Auth != "YTpi" {
		t.Fatalf("%+v, %v", f.Settings, err)
	}
	if err := f.SetAuth("r2", Auth{Auth: "Yzpk"}); err != nil {
		t.Fatal(err)
	}
	if err := f.RemoveAuth("r1", "nosuch"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(dir, FileName)); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the symbolic link is gone: %v %v", info.Mode(), err)
	}
	var doc map[string]any
	data, err := os.ReadFile(real)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["psFormat"] != "x" || doc["plugins"] == nil || len(doc["auths"].(map[string]any)) != 1 {
		t.Errorf("%s", data)
	}
	if info, _ := os.Stat(real); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestLoad(t *testing.T) {
	if f, err := Load(t.TempDir()); err != nil || f.PsFormat != "" {
		t.Errorf("no file: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(`{"psFormat":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(dir); err == nil || f == nil {
		t.Errorf("broken file: %v, %v", f, err)
	}
}

func TestContexts(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadContext(dir, "remote"); err == nil {
		t.Error("a context that is not there was found")
	}
	const id = "b71199ebd070b36beab7317920c2c2f1d777df8d05e5527d8458fda57cb17a7a" // SHA-256 of "remote"
	write := func(name, content string) {
		t.Helper()
		p := filepath.Join(dir, "contexts", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("meta/"+id+"/meta.json", `{"Name":"remote","Metadata":{"Description":"d"},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":true}}}`)
	write("tls/"+id+"/docker/ca.pem", "x")
	c, err := LoadContext(dir, "remote")
	want := Context{Name: "remote", Description: "d", Host: "tcp://h:1", SkipVerify: true, TLSDir: filepath.Join(dir, "contexts/tls", id, "docker")}
	if err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
	if list, err := ListContexts(dir); err != nil || len(list) != 1 || list[0] != want {
		t.Errorf("%+v, %v", list, err)
	}
}
