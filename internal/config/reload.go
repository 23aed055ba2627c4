package config

import (
	"reflect"
	"slices"
)

// reloadable are the fields that a running daemon can change.
var reloadable = []string{
	"Debug", "Labels",
}

// unreported fields follow from how the daemon was started.
var unreported = []string{"Action", "Warnings"}

// Reload reads the configuration file again, on SIGHUP, with the command line
// of the start. It gives the configuration to go on with, in which only
// reloadable settings have changed, and their fields' names; all other changes
// are named in next's Warnings. If the file is bad, nothing changes.
func Reload(current Config, args []string) (next Config, changed []string, err error) {
	fresh, err := Parse(args)
	if err != nil {
		return current, nil, err
	}
	next = current
	next.Warnings = fresh.Warnings
	from, to := reflect.ValueOf(fresh), reflect.ValueOf(&next).Elem()
	for i := range from.NumField() {
		name := from.Type().Field(i).Name
		if slices.Contains(unreported, name) || reflect.DeepEqual(from.Field(i).Interface(), to.Field(i).Interface()) {
			continue
		}
		if !slices.Contains(reloadable, name) {
			next.warn("the new value of %s takes effect after a restart of the daemon", name)
			continue
		}
		to.Field(i).Set(from.Field(i))
		changed = append(changed, name)
	}
	return next, changed, nil
}
