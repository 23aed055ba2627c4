// Package config is how gantryd is told what to do: dockerd's flags, the keys
// of daemon.json, the addresses to listen on, the pid file and the talk with a
// service manager.
//
// Parse turns flags and file into one Config, a plain value that the
// composition root hands out in parts. All options stand in one table
// (table.go) with what becomes of each: an option that Gantry cannot honour is
// refused or warned about, never silently ignored.
//
// What does not belong here: anything that acts on the settings, and imports of
// domains.
package config
