package runtimecli

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
)

// TestTable: columns are where runc, which uses text/tabwriter, has them.
func TestTable(t *testing.T) {
	for _, rows := range [][][]string{
		{{"ID", "PID", "STATUS"}},
		{{"ID", "PID", "STATUS"}, {"c", "1", "running"}},
		{{"ID", "PID", "STATUS"}, {"ninechars", "1", "running"}, {"tenletters", "123456789012345", "stopped"}, {"größer-äöü", "", ""}},
	} {
		var want strings.Builder
		w := tabwriter.NewWriter(&want, 12, 1, 3, ' ', 0)
		for _, row := range rows {
			_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		if err := writeTable(&got, rows); err != nil || got.String() != want.String() {
			t.Errorf("%v, got\n%swant\n%s", err, got.String(), want.String())
		}
	}
}
