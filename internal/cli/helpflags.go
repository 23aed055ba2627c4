package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// writeFlags lists the flags with their descriptions wrapped at width, in the
// layout of Docker's help texts.
func writeFlags(b *bytes.Buffer, fs *pflag.FlagSet, width int) {
	type item struct{ left, text string }
	var items []item
	column := 0
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		left := "      --" + f.Name
		if f.Shorthand != "" && f.ShorthandDeprecated == "" {
			left = "  -" + f.Shorthand + ", --" + f.Name
		}
		if word := typeWord(f); word != "" {
			left += " " + word
		}
		column = max(column, len(left))
		items = append(items, item{left, f.Usage + defaultText(f)})
	})
	column += 3
	for _, it := range items {
		lines := wrap(it.text, width-column-1)
		for i, line := range lines {
			left := it.left
			if i > 0 {
				left = ""
			}
			fmt.Fprintf(b, "%-*s%s\n", column, left, line)
		}
	}
}

// typeWord is the word for a flag's value, "" for a switch.
func typeWord(f *pflag.Flag) string {
	switch t := f.Value.Type(); t {
	case "bool":
		return ""
	case "int64", "int32":
		return "int"
	case "uint64", "uint32":
		return "uint"
	default:
		return t
	}
}

func defaultText(f *pflag.Flag) string {
	if slices.Contains([]string{"", "0", "0s", "false", "[]", "map[]"}, f.DefValue) {
		return ""
	}
	if f.Value.Type() == "string" {
		return fmt.Sprintf(" (default %q)", f.DefValue)
	}
	return fmt.Sprintf(" (default %s)", f.DefValue)
}

// wrap breaks each line of text between words. Blanks within a line stay, as
// some texts are tables.
func wrap(text string, width int) []string {
	width = max(width, 24) // below this it would be all breaks
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		for len(line) > width {
			cut := strings.LastIndexByte(line[:width+1], ' ')
			if cut <= 0 {
				if cut = strings.IndexByte(line, ' '); cut < 0 {
					break
				}
			}
			out = append(out, strings.TrimRight(line[:cut], " "))
			line = strings.TrimLeft(line[cut:], " ")
		}
		out = append(out, line)
	}
	return out
}
