package session

import (
	"errors"
	"fmt"

	"github.com/gantry-run/gantry/internal/cli/render"
)

// InspectFormatHelp describes --format of the inspect commands.
const InspectFormatHelp = `Format the output with a template:
'json':             Print in JSON format
'TEMPLATE':         Print using the given Go template.
See https://docs.docker.com/go/formatting/ for templates`

// Inspect gets each object and shows what was found, then the errors.
func (s *Session) Inspect(format string, names []string, get func(name string) (render.Document, error)) error {
	ins, err := render.NewInspection(format)
	if t := new(render.TemplateError); errors.As(err, &t) {
		return &ExitError{Code: exitTemplate, Err: err}
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		doc, err := get(name)
		if err == nil {
			err = ins.Add(doc)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if err := ins.Flush(s.Out); err != nil {
		return err
	}
	return Join(errs)
}

// exitTemplate is what a bad template exits with.
const exitTemplate = 64

// NotFound words a missing object of any kind.
func NotFound(name string) error {
	return fmt.Errorf("Error: No such object: %s", name)
}

// ListFormatHelp describes --format of the listing commands.
const ListFormatHelp = `Format the output with a template:
'table':            Print a table with column headings (default)
'table TEMPLATE':   Print a table using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print using the given Go template.
See https://docs.docker.com/go/formatting/ for templates`
