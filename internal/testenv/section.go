package testenv

import (
	"bytes"
	"fmt"
	"os"
)

// Section holds a generated part of a document, between the lines
// "<!-- generated: NAME -->" and "<!-- end: NAME -->", against what it should
// be. With write it is put there; how tells the reader of a failure that way.
func Section(t TB, file, name, want string, write bool, how string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v", err)
	}
	begin, end := []byte(fmt.Sprintf("<!-- generated: %s -->\n", name)), []byte(fmt.Sprintf("<!-- end: %s -->\n", name))
	before, rest, ok := bytes.Cut(data, begin)
	have, after, ok2 := bytes.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no section %q", file, name)
	}
	if string(have) == want {
		return
	}
	if !write {
		t.Errorf("section %q of %s is not what the code says; run: %s", name, file, how)
		return
	}
	if err := os.WriteFile(file, bytes.Join([][]byte{before, begin, []byte(want), end, after}, nil), 0o644); err != nil {
		t.Fatalf("%v", err)
	}
}
